package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/podman"
)

// engines are the addresses of container engines that have been found for entries which name none. One
// that was found stays, so that a moment of its absence does not send a job elsewhere, until the configuration is
// read again.
type engines struct {
	finder engineapi.Finder
	podman *podman.Service // for a machine with Podman and without a socket; nil: there is no podman command

	mu    sync.Mutex
	found map[engineapi.Address]engineapi.Address
}

// newEngines looks for the podman command.
func newEngines(o Options, owner string) *engines {
	e := &engines{finder: engineapi.Finder{Getenv: os.Getenv, Root: "/", UID: os.Getuid()}}
	if path, err := exec.LookPath("podman"); err == nil {
		e.podman = &podman.Service{Program: path, Dir: filepath.Join(o.StateDir, "podman"), Owner: owner, Log: o.Log}
	}
	return e
}

// address completes the address of an entry's engine.
func (e *engines) address(ctx context.Context, d *config.Docker) (engineapi.Address, error) {
	asked := engineapi.Address{Host: d.Host, CertPath: d.TLSCertPath, Verify: d.TLSVerify}
	e.mu.Lock()
	defer e.mu.Unlock()
	if a, ok := e.found[asked]; ok {
		return a, nil
	}
	a, err := e.finder.Find(ctx, asked)
	if errors.Is(err, engineapi.ErrNone) && e.podman != nil {
		a, err = engineapi.Address{Host: e.podman.Address()}, nil
	}
	if err != nil {
		return a, err
	}
	if e.found == nil {
		e.found = map[engineapi.Address]engineapi.Address{}
	}
	e.found[asked] = a
	return a, nil
}

// forget has engines looked for again.
func (e *engines) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.found = nil
}

// ready reports why a runner should not ask for jobs: its engine is not there.
func (d *Daemon) ready(ctx context.Context, r *config.Runner) error {
	if !isContainer(r.Executor) {
		return nil
	}
	a, err := d.place.engines.address(ctx, dockerOf(r))
	if err == nil {
		d.engines.note(a)
		err = d.containers.Reachable(ctx, a)
	}
	if err != nil {
		return fmt.Errorf("no job is asked for: %w", err)
	}
	return nil
}

// dockerOf is the entry's [runners.docker], which may be missing.
func dockerOf(r *config.Runner) *config.Docker {
	if r.Docker == nil {
		return &config.Docker{}
	}
	return r.Docker
}
