package shell

import (
	"fmt"
	"io"
	"os"
	"strings"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixhost"
	"gitlab.com/skerry/skerry/internal/nixstore/nixjob"
)

// Nix is what jobs are given of the machine's Nix store. They run as the user whom their gateway runs as, so it keeps
// nobody out who wants to pass it by: it holds what the job knows, counts what it has had, and refuses what it refuses
// everywhere.
type Nix struct {
	Socket string `json:"socket"`         // the daemon's
	Path   bool   `json:"path,omitempty"` // the store's Nix is first in PATH
	// Programs are where the machine's Nix is looked for; nil: the usual places.
	Programs []string `json:"programs,omitempty"`
}

// nixSocket is the gateway's socket in the agent's directory.
const nixSocket = "nix.sock"

// config is what the agent is told.
func (v *environment) config(log io.Writer) agent.Config {
	n := v.e.o.Nix
	if n == nil {
		return agent.Config{}
	}
	listen := v.path(dirAgent, nixSocket)
	c := agent.Config{
		Nix:    &gateway.Config{Listen: listen, Upstream: n.Socket, Unprivileged: true, Job: v.ref.ID},
		NixJob: &nixjob.Config{Remote: remote(listen), Socket: listen, Machine: true, Path: n.Path},
	}
	if !n.Path {
		return c
	}
	places := nixhost.Usual(os.Getenv("PATH"))
	if n.Programs != nil {
		places.Programs = n.Programs
	}
	offer := nixhost.Find(places)
	c.NixJob.Tools, c.NixJob.Certs = offer.Tools, offer.Certs
	c.Nix.Known = []string{offer.Tools, offer.Certs}
	if offer.Why != "" {
		fmt.Fprintf(log, "\x1b[0;33mWARNING: path = true in [runners.nix] has no effect: %s\x1b[0;m\n", offer.Why)
	}
	return c
}

// remote names a socket in NIX_REMOTE. Versions of Nix differ in how they read characters there that mean something in
// an address: then NIX_DAEMON_SOCKET_PATH alone has the name.
func remote(socket string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r)
	}
	if strings.ContainsFunc(socket, func(r rune) bool { return !plain(r) }) {
		return "daemon"
	}
	return "unix://" + socket
}
