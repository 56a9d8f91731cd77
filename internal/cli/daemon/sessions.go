package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/session"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// serveSessions serves GitLab's web terminals until stop is called; without a listen_address there are none, and stop
// does nothing. It is called before the first request for a job.
func (d *Daemon) serveSessions(ctx context.Context, c *config.Config) (stop func(), err error) {
	if c.SessionServer.ListenAddress == "" {
		return func() {}, nil
	}
	d.sessions, err = session.Listen(ctx, session.Options{
		Listen: withPort(c.SessionServer.ListenAddress), Advertise: withPort(c.SessionServer.AdvertiseAddress), Dir: d.o.StateDir, Open: d.openSession, Log: d.log,
	})
	if err != nil {
		return nil, err
	}
	d.log.Info("Web terminals are served", "address", d.sessions.Addr())
	return d.sessions.Close, nil
}

// withPort adds GitLab Runner's usual port to an address that has none.
func withPort(address string) string {
	if address == "" || strings.Contains(address, "/") {
		return address
	}
	if _, _, err := net.SplitHostPort(address); err != nil && !strings.HasSuffix(address, ":") {
		return net.JoinHostPort(strings.Trim(address, "[]"), "8093")
	}
	return address
}

// offer is the session of one request for a job; nil when there are none.
func (d *Daemon) offer() *gitlab.Session {
	if d.sessions == nil {
		return nil
	}
	o := d.sessions.Offer()
	return &gitlab.Session{URL: o.URL, Certificate: o.Certificate, Authorization: o.Authorization}
}

// sessionTimeout is how long the end of a job that is received now waits for a user at its web terminal.
func (d *Daemon) sessionTimeout() time.Duration {
	if d.sessions == nil {
		return 0
	}
	return time.Duration(d.inForce().SessionServer.SessionTimeout) * time.Second
}

// sessionSize is that of GitLab's web terminal until it tells its own, for which it has no message.
var sessionSize = terminal.Size{Rows: 24, Cols: 80} //nolint:gochecknoglobals // a constant

// openSession implements session.Options.Open.
func (d *Daemon) openSession(ctx context.Context, path string) (session.Terminal, error) {
	for _, j := range d.engine.Jobs() {
		if !strings.HasSuffix(j.Session, path) {
			continue
		}
		t, err := d.engine.Terminal(ctx, j.Ref, engine.TerminalOptions{TTY: true, Size: sessionSize, Term: "xterm-256color", Session: true})
		if errors.Is(err, engine.ErrNoJob) {
			return nil, fmt.Errorf("%w: %w", session.ErrNoJob, err)
		}
		if err != nil {
			return nil, fmt.Errorf("job %d: %w", j.ID, err)
		}
		return t, nil
	}
	return nil, session.ErrNoJob
}
