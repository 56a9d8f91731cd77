package container

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

var _ executor.Companion = (*environment)(nil)

// followAgain is the time between two attempts to follow the log of a service that runs.
const followAgain = time.Second

// Follow implements executor.Companion: it shows what the services write, as GitLab Runner does with
// CI_DEBUG_SERVICES.
func (v *environment) Follow(ctx context.Context, open func(i int) io.Writer) {
	var all sync.WaitGroup
	defer all.Wait()
	for i := range v.b.Services {
		all.Go(func() { v.followService(ctx, i, open) })
	}
}

// followService follows a service's log from its beginning, again and again while it lives: lines that were
// shown before have keys that the log knows.
func (v *environment) followService(ctx context.Context, i int, open func(i int) io.Writer) {
	s := &v.b.Services[i]
	for ctx.Err() == nil {
		var state engineapi.State
		engine, err := v.api(ctx)
		if err == nil {
			state, err = engine.State(ctx, s.Name)
		}
		if err == nil && !state.Created {
			out := &prefixed{out: open(i), prefix: grey + "[service:" + strings.Join(s.Aliases, "-") + "] "}
			err = engine.Follow(ctx, s.Name, out)
			out.end()
			if err == nil && !state.Running {
				return // that was all of it
			}
		}
		if err != nil && ctx.Err() == nil {
			v.log.Debug("The log of a service cannot be followed now", "container", s.Name, "error", err)
		}
		timer := time.NewTimer(followAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// api is the connection to the engine, once there is one.
func (v *environment) api(ctx context.Context) (*engineapi.Engine, error) {
	if v.reached == nil {
		return v.e.host.engine(ctx, v.e.o.Engine)
	}
	if err := v.reached.wait(ctx); err != nil {
		return nil, err
	}
	return v.engine, nil
}

const grey = "\x1b[90;1m"

// maxServiceLine is where a line that does not end is broken.
const maxServiceLine = 8 << 10

// prefixed writes whole lines, each with what it belongs to.
type prefixed struct {
	out    io.Writer
	prefix string
	part   []byte
}

// Write implements io.Writer.
func (p *prefixed) Write(b []byte) (int, error) {
	for _, c := range b {
		if c != '\n' {
			p.part = append(p.part, c)
		}
		if c == '\n' || len(p.part) >= maxServiceLine {
			if err := p.line(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (p *prefixed) line() error {
	line := strings.TrimRight(string(p.part), "\r")
	p.part = p.part[:0]
	_, err := io.WriteString(p.out, p.prefix+line+plain+"\n")
	return err
}

func (p *prefixed) end() {
	if len(p.part) > 0 {
		_ = p.line()
	}
}

// Report implements executor.Companion: it says which services ended before the job did.
func (v *environment) Report(ctx context.Context, out io.Writer) {
	if len(v.b.Services) == 0 && v.b.Nested == nil && v.b.Shared == nil {
		return
	}
	engine, err := v.api(ctx)
	if err != nil {
		v.log.Debug("The services of a job cannot be looked at", "error", err)
		return
	}
	v.reportNested(ctx, engine, out)
	v.reportShared(ctx, engine, out)
	states, err := v.serviceStates(ctx, engine)
	if err != nil {
		v.log.Debug("The services of a job cannot be looked at", "error", err)
	}
	for i := range v.b.Services {
		s, state := &v.b.Services[i], states[i]
		never := state.ID == "" && v.b.now(&s.part).ImageID == "" // its image could not be had
		switch {
		case state.Running, never, state.ID == "" && state.Error == "", state.Created, v.told.has(s.Name):
		case state.ExitCode == 0 && !state.OOMKilled && state.Error == "":
			fmt.Fprintf(out, "Service %s ended with exit code 0 before the job did.\n", s.names())
		default:
			v.told.add(s.Name)
			warnService(ctx, engine, out, s, "ended while the job ran.", ending(s, state))
		}
	}
}
