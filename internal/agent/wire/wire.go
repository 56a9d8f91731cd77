// Package wire is what the runner and the agent say to each other: HTTP/2 (cleartext) over the
// connection that an executor's Dial returns, JSON bodies, spool records and archives as raw bytes.
//
// Every operation is idempotent by stage id, so that a runner which does not know whether its
// request arrived sends it again. The agent answers a request whose epoch is lower than one that
// it has seen with 410 Gone: a newer runner process has taken the job over.
//
//	GET    /v1/hello                     -> Hello
//	PUT    /v1/job          Handover     -> 204; first contact of a runner process, sets epoch, deadline and lease
//	PUT    /v1/stages/{id}  stage.Spec   -> Started; starts the stage unless it has been started before
//	GET    /v1/stages/{id}?wait=SECONDS  -> Status; returns when the stage is over or after SECONDS (at most 55)
//	GET    /v1/stages/{id}/spool?from=N  -> the spool's bytes from offset N, as they come, until the End record
//	POST   /v1/stages/{id}/ack?to=N      -> 204; records before offset N will not be asked for again
//	POST   /v1/stages/{id}/cancel Cancel -> 204; ends the stage's processes; no error when it is over or unknown
//	GET    /v1/archives/{name}           -> an archive that a stage packed; Range is honoured
//	PUT    /v1/archives/{name}           -> 204; stores an archive for a later stage; replaces an earlier one whole
//	DELETE /v1/archives/{name}           -> 204
//	POST   /v1/terminals    messages     -> messages; package terminal: Begin (a stage.Terminal) and so on, until Exit (since 1.1)
//	GET    /v1/nix                       -> Nix; only where Hello says that there is a gateway
//	POST   /v1/lease                     -> 204; contact, renews the lease
//	POST   /v1/shutdown                  -> 204; ends every process and then the agent
//
// Every request carries the headers HeaderProtocol and HeaderEpoch. Errors are Error bodies.
package wire

import (
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
)

// Protocol is this version of the wire: major.minor as one number, 100*major+minor. A runner drives
// agents of its own major version that are at most two minor versions older.
const Protocol = 101

// TerminalsSince is the first protocol whose agents have terminals.
const TerminalsSince = 101

// The request headers.
const (
	HeaderProtocol = "Skerry-Protocol"
	HeaderEpoch    = "Skerry-Epoch"
)

// Hello is what an agent tells of itself and its place.
type Hello struct {
	Protocol int      `json:"protocol"`
	Version  string   `json:"version"` // of the agent's build
	PID      int      `json:"pid"`
	UID      int      `json:"uid"`
	GID      int      `json:"gid"`
	OS       string   `json:"os"`
	Arch     string   `json:"arch"`
	Host     string   `json:"host"` // the machine's or container's host name
	Home     string   `json:"home"`
	Shells   []string `json:"shells"` // absolute paths that exist, of bash, sh and pwsh in this order
	Git      string   `json:"git"`    // absolute path, empty when there is no git
	GitLFS   bool     `json:"git_lfs"`
	Epoch    int64    `json:"epoch"`         // the highest seen so far
	Dir      string   `json:"dir"`           // the agent's state directory, as the place sees it
	Nix      bool     `json:"nix,omitempty"` // the agent keeps the job's gateway to a Nix daemon
}

// Handover binds the agent to a job and to a runner process.
type Handover struct {
	Job   string        `json:"job"`   // the environment's ref
	Epoch int64         `json:"epoch"` // of the runner process; grows with every start
	Left  time.Duration `json:"left"`  // until the job's deadline, measured when the runner sent this; 0 none
	Lease time.Duration `json:"lease"` // without contact for so long the agent ends itself; 0 never
}

// Started is the answer to the start of a stage.
type Started struct {
	At int64 `json:"at"` // microseconds since 1970 UTC; the same however often the stage is started
}

// Status says how far a stage is.
type Status struct {
	Known  bool          `json:"known"`
	Over   bool          `json:"over"`
	At     int64         `json:"at"`               // start, microseconds since 1970 UTC
	Result *stage.Result `json:"result,omitempty"` // when over
}

// Nix is what a job has had of a Nix store so far. Every store path counts once, the way it came first.
type Nix struct {
	Built       NixPaths `json:"built"`
	Substituted NixPaths `json:"substituted"`
	Reused      NixPaths `json:"reused"`
	Added       NixPaths `json:"added"`
	Refused     int      `json:"refused,omitempty"` // requests that no job may make
	Connections int      `json:"connections"`
}

// NixPaths are some store paths.
type NixPaths struct {
	Paths int   `json:"paths"`
	Bytes int64 `json:"bytes,omitempty"` // as archives, as far as it is known
}

// Cancel ends a stage: TERM to its processes, KILL after Grace.
type Cancel struct {
	Grace  time.Duration `json:"grace"`
	Reason stage.Reason  `json:"reason"` // what the result will say: canceled or timeout
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Message string `json:"message"`
}
