package daemon

import (
	"context"
	"errors"

	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// controlled is the engine as commands see it through the socket.
type controlled struct {
	engine *engine.Engine
	prune  func(ctx context.Context, socket string) (disk.Pruned, error)
}

// Jobs implements control.Runner.
func (c controlled) Jobs() []control.Job {
	var out []control.Job
	for _, v := range c.engine.Jobs() {
		j := control.Job{
			ID: v.ID, Ref: v.Ref, Project: v.Project, Name: v.Name, GitRef: v.GitRef, Runner: v.Runner, Executor: v.Executor,
			State: control.Running, Stage: string(v.Stage), Since: v.Since, Started: v.Started, KeptUntil: v.Kept,
		}
		if v.Result != nil {
			r := controlResult(*v.Result)
			j.State, j.Stage, j.Result = control.Delivering, "", &r
		}
		if !v.Kept.IsZero() {
			j.State = control.Kept
		}
		out = append(out, j)
	}
	return out
}

func controlResult(r job.Result) control.Result {
	return control.Result{State: string(r.State), Reason: string(r.Reason), ExitCode: r.ExitCode, Message: r.Message}
}

// Log implements control.Runner.
func (c controlled) Log(ctx context.Context, id string, from int64, tail int) (control.Log, int64, error) {
	f, from, err := c.engine.Follow(ctx, id, from, tail)
	if err != nil {
		return nil, 0, absent(err)
	}
	return controlledLog{f}, from, nil
}

type controlledLog struct{ *engine.Follower }

// Result implements control.Log.
func (l controlledLog) Result(ctx context.Context) (control.Result, error) {
	r, err := l.Follower.Result(ctx)
	return controlResult(r), err
}

// Release implements control.Runner.
func (c controlled) Release(id string) error { return absent(c.engine.Release(id)) }

// Terminal implements control.Runner.
func (c controlled) Terminal(ctx context.Context, id string, t control.Terminal) (control.Session, error) {
	s, err := c.engine.Terminal(ctx, id, engine.TerminalOptions{
		Args: t.Args, TTY: t.TTY, Term: t.Term, Size: terminal.Size{Rows: t.Rows, Cols: t.Cols},
	})
	if err != nil {
		return nil, absent(err)
	}
	return s, nil
}

// Prune implements control.Runner.
func (c controlled) Prune(ctx context.Context, socket string) control.Pruned {
	p, err := c.prune(ctx, socket)
	out := control.Pruned{Images: p.Images, Containers: p.Containers, Bytes: p.Bytes}
	if err != nil {
		out.Problem = err.Error()
	}
	return out
}

func absent(err error) error {
	if errors.Is(err, engine.ErrNoJob) {
		return absentError{err}
	}
	return err
}

// absentError is an error that the socket knows as control.ErrNotFound.
type absentError struct{ error }

func (absentError) Is(target error) bool { return target == control.ErrNotFound }

// serveControl serves the socket for commands until stop is called. A runner without it runs jobs all the same.
func (d *Daemon) serveControl(ctx context.Context) (stop func()) {
	s, err := control.Listen(ctx, d.o.StateDir, controlled{d.engine, d.pruneAt}, controlledStores{&d.containers, d.scopes}, d.log)
	if err != nil {
		d.log.Warn("The commands jobs, attach, shell and nix do not work with this runner", "error", err)
		return func() {}
	}
	return s.Close
}
