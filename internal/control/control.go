// Package control is the runner's own socket, STATE/control.sock: commands on the same machine ask a running
// `skerry run` for its jobs through it, and never open its journal. It is HTTP/2 (cleartext) over a unix socket.
//
//	GET  /v1/jobs                                    -> Jobs
//	GET  /v1/jobs/{id}/log?from=N | ?tail=N          -> the log's bytes as they come, from offset HeaderFrom; trailer TrailerResult when the job is over
//	POST /v1/jobs/{id}/release                       -> 204; removes an environment that is kept
//	POST /v1/jobs/{id}/terminal  messages            -> messages; package terminal: Begin (a Terminal) and so on, until Exit
//	POST /v1/prune?socket=PATH                       -> Pruned; removes images and ended containers that nothing uses from the engine there, if a runner has it
//	GET  /v1/nix | ?known                            -> NixStores; with known only what is known without asking the stores
//	GET  /v1/nix/{store}/paths                       -> NixPaths
//	POST /v1/nix/{store}/collect        NixCollection -> NixCollected
//	POST /v1/nix/{store}/pins/{name}    NixPins      -> NixPins, all of that name
//	DELETE /v1/nix/{store}/pins/{name}               -> NixPins, that were
//
// An id is the coordinator's, or a ref or the id in it. Errors are Error bodies.
//
// # Trust
//
// The socket has mode 0600 in a directory that only the runner's user can enter, and peers of other users than that and
// root are refused: who can use it can read the journal as well. What jobs say comes through as it is.
package control

import (
	"context"
	"io"
	"time"

	"gitlab.com/skerry/skerry/internal/terminal"
)

// SocketName is the socket's name in the state directory.
const SocketName = "control.sock"

// The names of what goes beside a log.
const (
	HeaderFrom    = "Skerry-From"
	TrailerResult = "Skerry-Result"
)

// maxBegin bounds the beginning of a terminal, in bytes: arguments of a command line.
const maxBegin = 4 << 20

// Jobs is the answer to GET /v1/jobs.
type Jobs struct {
	Jobs []Job `json:"jobs"`
}

// Job is one job of the runner.
type Job struct {
	ID        int64     `json:"id"` // the coordinator's
	Ref       string    `json:"ref"`
	Project   string    `json:"project"` // path
	Name      string    `json:"name"`
	GitRef    string    `json:"git_ref"`
	Runner    string    `json:"runner"`
	Executor  string    `json:"executor"`
	State     string    `json:"state"`               // see the constants
	Stage     string    `json:"stage,omitempty"`     // the stage in hand, while it runs
	Since     time.Time `json:"since"`               // of the stage or, when it has ended, of the state
	Started   time.Time `json:"started"`             // accepted
	Result    *Result   `json:"result,omitempty"`    // when it has ended
	KeptUntil time.Time `json:"kept_until,omitzero"` // when its environment is kept
}

// The states of a job.
const (
	Running    = "running"
	Delivering = "delivering" // it has ended, and the coordinator has not taken the result yet
	Kept       = "kept"       // it is over, its environment is kept (keep_failed)
)

// Result is how a job ended.
type Result struct {
	State    string `json:"state"` // success or failed
	Reason   string `json:"reason,omitempty"`
	ExitCode int    `json:"exit_code,omitempty"`
	Message  string `json:"message,omitempty"`
}

// Terminal says what to run in a job's build place.
type Terminal struct {
	Args []string `json:"args,omitempty"` // empty: a shell
	TTY  bool     `json:"tty"`
	Rows uint16   `json:"rows,omitempty"`
	Cols uint16   `json:"cols,omitempty"`
	Term string   `json:"term,omitempty"` // kind of terminal
}

// Pruned is what has been removed from a container engine because nothing uses it.
type Pruned struct {
	Images     int    `json:"images"`
	Containers int    `json:"containers"`
	Bytes      int64  `json:"bytes"`             // that the images have freed, as far as the engine tells
	Problem    string `json:"problem,omitempty"` // why something else was not
}

// Error is the body of an answer that is not 2xx.
type Error struct {
	Message string `json:"message"`
}

// Log is a job's log being read: io.EOF comes when it is complete.
type Log interface {
	io.ReadCloser
	// Result waits for the job's result; call it after io.EOF.
	Result(ctx context.Context) (Result, error)
}

// Session is an open terminal.
type Session interface {
	Send(k terminal.Kind, data []byte) error
	Receive() (terminal.Kind, []byte, error)
	Close() // ends the program
}

// Runner is what the socket serves. An error that wraps ErrNotFound is answered with 404.
type Runner interface {
	Jobs() []Job
	// Log reads from byte from or, with tail >= 0, from the last tail lines on; it returns where that is.
	Log(ctx context.Context, id string, from int64, tail int) (Log, int64, error)
	Release(id string) error
	Terminal(ctx context.Context, id string, t Terminal) (Session, error)
	// Prune removes what nothing uses from the engine that listens on a socket of this machine, if a runner has it.
	Prune(ctx context.Context, socket string) Pruned
}
