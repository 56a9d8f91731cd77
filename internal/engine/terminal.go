package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// TerminalOptions say what to run in a job's build place.
type TerminalOptions struct {
	Args []string // a program and its arguments; empty: a shell
	TTY  bool     // with a terminal
	Size terminal.Size
	Term string // the kind of terminal, for TERM
	// Session is a user of the coordinator: the job does not end before he has left, or SessionTimeout is over.
	Session bool
}

// Terminal is a program in a job's place. What it says is hostile; messages are bounded.
type Terminal struct {
	*client.Terminal

	close func()
}

// Close ends the program. It may be called again, also while others send and receive.
func (t *Terminal) Close() { t.close() }

var errGuestsLeave = errors.New("the job's environment is being removed")

// Terminal opens a program in the build place of a job, which id names: a ref, the id in it, or the coordinator's
// id. It waits until the place is there. The program ends with ctx, with the environment, and when this process leaves the job.
func (e *Engine) Terminal(ctx context.Context, id string, o TerminalOptions) (*Terminal, error) {
	x, err := e.live.find(id)
	if err != nil {
		return nil, err
	}
	if x.planErr != nil {
		return nil, fmt.Errorf("the job has no environment: %w", x.planErr)
	}
	ctx, leave := x.guests.enter(ctx, o.Session)
	c, err := x.places.connect(ctx, executor.Build)
	if err != nil {
		leave()
		return nil, noPlace(err)
	}
	spec := x.plan.Terminal(x.statusNow())
	spec.Args, spec.TTY, spec.Rows, spec.Cols = o.Args, o.TTY, o.Size.Rows, o.Size.Cols
	if o.TTY && o.Term != "" {
		spec.Env = append(spec.Env, stage.Var{Key: "TERM", Value: o.Term})
	}
	t, err := c.Terminal(ctx, spec)
	if err != nil {
		c.Close()
		leave()
		return nil, noPlace(err)
	}
	x.log.Info("A terminal is opened in the job's build place", "session", o.Session, "program", strings.Join(o.Args, " "))
	return &Terminal{Terminal: t, close: sync.OnceFunc(func() {
		t.Close()
		c.Close()
		leave()
	})}, nil
}

// noPlace bounds what an agent says of why there is no terminal.
func noPlace(err error) error {
	var refused *client.RefusedError
	if errors.As(err, &refused) {
		return errors.New(words(refused.Message, maxWords))
	}
	return err
}

// statusNow is CI_JOB_STATUS for a terminal.
func (x *execution) statusNow() string {
	if r := x.show().Result; r != nil {
		return string(r.State)
	}
	return ""
}

// guests are the open terminals of a job.
type guests struct {
	mu       sync.Mutex
	next     int
	cancel   map[int]context.CancelCauseFunc
	sessions int           // of them, those that the job waits for
	over     bool          // no more are let in
	changed  chan struct{} // closed and replaced when sessions falls
}

// enter lets a terminal in until leave is called, which has to be. ctx ends when all have to go.
func (g *guests) enter(ctx context.Context, session bool) (inside context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		cancel(errGuestsLeave)
	}
	if g.cancel == nil {
		g.cancel, g.changed = map[int]context.CancelCauseFunc{}, make(chan struct{})
	}
	g.next++
	n := g.next
	g.cancel[n] = cancel
	if session {
		g.sessions++
	}
	return ctx, sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		cancel(nil)
		delete(g.cancel, n)
		if session {
			g.sessions--
			close(g.changed)
			g.changed = make(chan struct{})
		}
	})
}

// end sends all of them away and lets no more in.
func (g *guests) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	for _, cancel := range g.cancel {
		cancel(errGuestsLeave)
	}
}

// waiting is whether the job waits for terminals, and what tells that one has gone.
func (g *guests) waiting() (sessions int, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sessions, g.changed
}

// awaitSession waits for the users of the coordinator that are at a terminal of the job: for the coordinator a job
// that has ended has none. Source: gitlab-runner common/build.go, waitForTerminal.
func (x *execution) awaitSession(ctx context.Context) {
	sessions, changed := x.guests.waiting()
	if sessions == 0 || x.plan.Runner.SessionTimeout <= 0 {
		return
	}
	limit := min(x.plan.Runner.SessionTimeout, x.left())
	x.note("session", fmt.Sprintf("Terminal is connected, will time out in %s...", limit.Round(time.Second)))
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for sessions > 0 {
		select {
		case <-changed:
			sessions, changed = x.guests.waiting()
		case <-timer.C:
			x.note("session/over", fmt.Sprintf("Terminal session timed out (maximum time allowed - %s)", limit.Round(time.Second)))
			return
		case <-ctx.Done():
			return
		}
	}
	x.note("session/over", "Terminal disconnected")
}
