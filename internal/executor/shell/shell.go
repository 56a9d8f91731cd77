// Package shell is the executor that runs jobs on the runner's own machine: one agent a job, in a
// session and, where that is possible, a control group of its own, so that it outlives the runner. Jobs are
// not kept apart from each other or from the runner's user; it serves trusted jobs only.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/scope"
	"gitlab.com/skerry/skerry/internal/job"
)

// Options is what the executor needs; it is journaled with each job.
type Options struct {
	// Dir is where environments are made, one directory each. It must lie in directories that only the
	// runner can write; with User it must be open to that user (0711).
	Dir string `json:"dir"`
	// Agent is the agent's program. It is linked or copied into each environment, so that a job goes on
	// with the one it was started with.
	Agent string `json:"agent"`
	// User is the name of the user to run jobs as; empty: the runner's own.
	User string `json:"user,omitempty"`
	Nix  *Nix   `json:"nix,omitempty"` // nil: jobs have nothing of it
}

// Executor makes environments on this machine. It is safe for concurrent use.
type Executor struct {
	o   Options
	log *slog.Logger
}

// New returns the executor.
func New(o Options, log *slog.Logger) *Executor { return &Executor{o: o, log: log} }

// closeWithin is how long the removal of an environment that cannot be made may take.
const closeWithin = 30 * time.Second

// Prepare implements executor.Executor. Nothing stays of an environment that cannot be made.
func (e *Executor) Prepare(ctx context.Context, ref executor.Ref, j *job.Job, log io.Writer) (executor.Environment, error) {
	env := e.environment(ref)
	if j != nil {
		env.about = fmt.Sprintf("GitLab CI job %d of %s", j.ID, j.ProjectPath)
	}
	err := env.make(log)
	if err == nil {
		err = env.ensureAgent(ctx)
	}
	if err != nil { // the engine gets no environment that it could close
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		return nil, errors.Join(err, env.Close(after))
	}
	fmt.Fprintf(log, "Using Shell executor...\n")
	return env, nil
}

// Adopt implements executor.Executor.
func (e *Executor) Adopt(ctx context.Context, ref executor.Ref) (executor.Environment, error) {
	env := e.environment(ref)
	if _, err := os.Lstat(env.path(fileRef)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			// A runner that was killed while it removed the environment left a part of it, a loss of power
			// perhaps all of it but the ref.
			return nil, errors.Join(executor.ErrGone, env.Close(ctx))
		}
		return nil, fmt.Errorf("look at the environment of %s: %w", ref, err)
	}
	if p, ok := env.readAgent(); ok && p.alive() && scope.Together(p.pid) {
		env.leave(ctx, p) // the runner before was killed between its start and that
	}
	return env, nil
}

// Reconcile implements executor.Executor.
func (e *Executor) Reconcile(ctx context.Context, owner executor.OwnerID, keep []executor.Ref) error {
	entries, err := os.ReadDir(e.o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list environments: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if id, ok := strings.CutPrefix(entry.Name(), partlyPrefix(owner)); ok && !slices.Contains(keep, executor.Ref{Owner: owner, ID: id}) {
			errs = append(errs, e.environment(executor.Ref{Owner: owner, ID: id}).remove())
			continue
		}
		raw, err := os.ReadFile(filepath.Join(e.o.Dir, entry.Name(), fileRef))
		if err != nil {
			continue // not an environment, or somebody removes it right now
		}
		ref, err := executor.ParseRef(string(raw))
		if err != nil || ref.Owner != owner || ref.ID != entry.Name() || slices.Contains(keep, ref) {
			continue
		}
		e.log.Info("Removing an environment that no job needs any more", "ref", ref)
		errs = append(errs, e.environment(ref).Close(ctx))
	}
	return errors.Join(errs...)
}

func (e *Executor) environment(ref executor.Ref) *environment {
	return &environment{e: e, ref: ref, dir: filepath.Join(e.o.Dir, ref.ID)}
}
