// Package gateway stands between the jobs of one environment and a Nix daemon: it speaks Nix's worker protocol with both,
// passes on what a job may ask, refuses the rest with the reason, and keeps alive what the job knows.
//
// # Trust
//
// Clients are never trusted, whatever their uid. The daemon must not trust the gateway's own user either: where it says
// so, nobody is served. What a daemon would allow to a trusted client is refused here as well (rules.go), because daemons
// before protocol 1.35 do not say whom they trust. No byte of a client reaches the daemon that has not been parsed, and
// nothing that makes the daemon take memory is passed on without a bound.
//
// # Holding
//
// Before the gateway tells a job that a path is valid, the path is safe from garbage collection until the job ends: a
// hold.Holder makes a root of it, then the path becomes a temporary root of the connection in hand, and then the daemon is
// asked once more whether it is valid. The order matters. A collector that began before the temporary root is told of it
// by the daemon; one that begins later finds the root, which was there first. See docs/adr.
//
// # Showing
//
// With a Config.View the job does not have the store mounted, but a directory with copies of what it knows, closures whole;
// they are complete before the answer is given. Then no answer tells of other paths, either.
package gateway

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Config is what a gateway needs to know. It travels as JSON from an executor to the agent.
type Config struct {
	// Listen is the path of the socket that clients connect to. Its directory must exist; an old socket is replaced.
	Listen string `json:"listen"`
	// Upstream is the path of the daemon's socket. It may be missing for a while.
	Upstream string `json:"upstream"`
	// Unprivileged has the gateway connect as nixconn.Nobody where it is root, whom daemons trust unless they are told otherwise.
	Unprivileged bool `json:"unprivileged,omitempty"`
	// Roots is a directory below the daemon's gcroots, where Roots/jobs/Job gets a file for each path that the job knows, named
	// like the path in the store.
	// Empty: a connection to the daemon that is kept open holds them.
	Roots string `json:"roots,omitempty"`
	// Holder is the socket of a hold.Server that makes them instead, for a gateway that cannot write to Roots; that is empty then.
	Holder string `json:"holder,omitempty"`
	// Job names the job among those that share Roots or Holder: one part of a path.
	Job string `json:"job,omitempty"`
	// Known are paths in the store that the job knows from the beginning: each is held like one that it was told of.
	Known []string `json:"known,omitempty"`
	// View is a directory that the job sees as its store: there it gets copies of those paths of the store in the directory Store
	// that it knows, and it learns of no others. Empty: it sees the whole store.
	View  string `json:"view,omitempty"`
	Store string `json:"store,omitempty"`
	// MaxConns is how many connections are served at once; default 64.
	MaxConns int `json:"max_conns,omitempty"`
	// MaxJobs is how many builds a client may ask to run at once; default as many as there are CPUs.
	MaxJobs int `json:"max_jobs,omitempty"`
	// Wait is how long a new connection waits for a daemon that is away, and for its turn beyond MaxConns; default 30 s.
	Wait time.Duration `json:"wait,omitempty"`
	// Handshake is how long a client may take to introduce itself; default 10 s.
	Handshake time.Duration `json:"handshake,omitempty"`
}

// complete checks c and fills in what is left out.
func (c Config) complete() (Config, error) {
	var errs []error
	for _, p := range []struct{ key, path string }{{"listen", c.Listen}, {"upstream", c.Upstream}} {
		if !filepath.IsAbs(p.path) {
			errs = append(errs, fmt.Errorf("%s: %q is not an absolute path of a socket", p.key, p.path))
		}
	}
	for key, path := range map[string]string{"roots": c.Roots, "holder": c.Holder} {
		if path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("%s: %q is not an absolute path", key, path))
		}
		if c.Job == "" || strings.ContainsAny(c.Job, "/\x00") || c.Job[0] == '.' {
			errs = append(errs, fmt.Errorf("job: %q cannot name a directory in %s", c.Job, path))
		}
	}
	if c.View != "" && (!filepath.IsAbs(c.View) || !filepath.IsAbs(c.Store)) {
		errs = append(errs, fmt.Errorf("view, store: %q and %q have to be absolute paths of directories", c.View, c.Store))
	}
	c.MaxConns = orDefault(c.MaxConns, 64)
	c.MaxJobs = orDefault(c.MaxJobs, runtime.NumCPU())
	c.Wait = orDefault(c.Wait, 30*time.Second)
	c.Handshake = orDefault(c.Handshake, 10*time.Second)
	return c, errors.Join(errs...)
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}
