// Package fake is an executor for tests of what uses executors: its places are goroutines, its agents
// do what a Script says, and nothing of it is a process, a file or a socket. It speaks the real wire
// (HTTP/2 over net.Pipe), so that the real client drives it, and it works inside testing/synctest,
// where hours pass at once. A Script may also lie, stall and hang up: that is how hostile agents are
// tested. Production code does not import it.
package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// Machine is what environments are made on. It outlives executors as a real machine outlives runner
// processes. Its methods may be called concurrently. Close it when the test ends.
type Machine struct {
	scripts func(*job.Job) Script

	mu   sync.Mutex
	pids int
	envs map[executor.Ref]*environment
}

// NewMachine returns an empty machine. scripts says what the agents of a job do; it is called once for
// every environment. Nil means the zero Script for every job.
func NewMachine(scripts func(*job.Job) Script) *Machine {
	if scripts == nil {
		scripts = func(*job.Job) Script { return Script{} }
	}
	return &Machine{scripts: scripts, envs: map[executor.Ref]*environment{}}
}

// Executor returns an executor on m, as another process of the same runner would make it.
func (m *Machine) Executor() executor.Executor { return fake{m} }

// Kill ends the agent of place in ref as the kernel's out-of-memory killer would. It does not come
// back. An environment that is not there is left alone.
func (m *Machine) Kill(ref executor.Ref, place executor.Place) {
	m.mu.Lock()
	env := m.envs[ref]
	m.mu.Unlock()
	if env != nil {
		env.agents[place].end(fmt.Errorf("the agent in place %s was killed", place))
	}
}

// Refs lists the environments that exist.
func (m *Machine) Refs() []executor.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	refs := make([]executor.Ref, 0, len(m.envs))
	for ref := range m.envs {
		refs = append(refs, ref)
	}
	return refs
}

// Close removes every environment.
func (m *Machine) Close() {
	for _, ref := range m.Refs() {
		m.remove(ref)
	}
}

func (m *Machine) remove(ref executor.Ref) {
	m.mu.Lock()
	env := m.envs[ref]
	delete(m.envs, ref)
	m.mu.Unlock()
	if env == nil {
		return
	}
	for _, a := range env.agents {
		a.end(errors.New("the environment was removed"))
		a.wait()
	}
}

// fake is the executor.
type fake struct{ m *Machine }

// Prepare implements executor.Executor.
func (f fake) Prepare(ctx context.Context, ref executor.Ref, j *job.Job, log io.Writer) (executor.Environment, error) {
	f.m.mu.Lock()
	env := f.m.envs[ref]
	f.m.mu.Unlock()
	if env != nil {
		return env, nil
	}
	s := f.m.scripts(j)
	if s.Prepare != nil {
		if err := s.Prepare(ctx, log); err != nil {
			if s.HalfMade {
				f.make(ctx, ref, s)
			}
			return nil, err
		}
	}
	return f.make(ctx, ref, s), nil
}

// make makes ref, unless somebody else has.
func (f fake) make(ctx context.Context, ref executor.Ref, s Script) *environment {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if env := f.m.envs[ref]; env != nil {
		return env
	}
	env := &environment{m: f.m, ref: ref, agents: map[executor.Place]*agent{}}
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		f.m.pids++
		env.agents[place] = newAgent(ctx, f.m.pids, place, s)
	}
	f.m.envs[ref] = env
	return env
}

// Adopt implements executor.Executor.
func (f fake) Adopt(_ context.Context, ref executor.Ref) (executor.Environment, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if env := f.m.envs[ref]; env != nil {
		return env, nil
	}
	return nil, executor.ErrGone
}

// Reconcile implements executor.Executor.
func (f fake) Reconcile(_ context.Context, owner executor.OwnerID, keep []executor.Ref) error {
	for _, ref := range f.m.Refs() {
		if ref.Owner == owner && !slices.Contains(keep, ref) {
			f.m.remove(ref)
		}
	}
	return nil
}
