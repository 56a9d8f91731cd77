package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// leaseWait is how long a job waits for the volumes of one that is over. A coordinator hands out a pipeline's next job
// while the containers of the one before are being removed, which takes some tenths of a second; with other volumes
// the next job would have neither its clone nor its cache.
const leaseWait = 10 * time.Second

// lease finds the lowest number of a set of volumes that no other job has: the volumes of one number
// belong to one job at a time. A lease is a file with the ref in it, so it outlives the process.
func (e *Executor) lease(ctx context.Context, ref executor.Ref, j *job.Job) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	for n := 0; ; {
		name := volumeName(ref.Owner, e.o.Scope, j, "", n)
		err := e.take(ref, name)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
		holder, err := os.ReadFile(filepath.Join(e.leases(), name))
		if err == nil && string(holder) == ref.String() {
			return n, nil
		}
		if errors.Is(err, fs.ErrNotExist) || e.host.awaitVacated(ctx, string(holder)) {
			continue // it is free
		}
		n++
	}
}

// take makes the lease name; the error is fs.ErrExist when there is one.
func (e *Executor) take(ref executor.Ref, name string) error {
	dir := e.leases()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for leases: %w", err)
	}
	// The file appears with its content, so that nobody takes an empty one for a lease of nobody.
	mine := filepath.Join(dir, "."+ref.ID)
	defer os.Remove(mine) // a full disk leaves an empty one
	if err := os.WriteFile(mine, []byte(ref.String()), 0o600); err != nil {
		return fmt.Errorf("lease the job's volumes: %w", err)
	}
	if err := os.Link(mine, filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("lease the job's volumes: %w", err)
	}
	return nil
}

// vacate ends the leases of an environment that has no containers any more, or none yet.
func (e *Executor) vacate(ref executor.Ref) error {
	defer e.host.vacated(ref)
	return e.release(func(r executor.Ref) bool { return r == ref })
}

// release ends the leases of refs that drop reports.
func (e *Executor) release(drop func(executor.Ref) bool) error {
	entries, err := os.ReadDir(e.leases())
	if err != nil {
		return nil //nolint:nilerr // no leases yet
	}
	var errs []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue // one that is being made
		}
		path := filepath.Join(e.leases(), entry.Name())
		holder, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		ref, err := executor.ParseRef(strings.TrimSpace(string(holder)))
		if err != nil || drop(ref) {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// releaseUnfinished removes what runners that were killed while they took a lease left of it.
func (e *Executor) releaseUnfinished(owner executor.OwnerID) error {
	entries, err := os.ReadDir(e.leases())
	if err != nil {
		return nil //nolint:nilerr // no leases yet
	}
	var errs []error
	for _, entry := range entries {
		id, ok := strings.CutPrefix(entry.Name(), ".")
		if !ok || e.host.alive(executor.Ref{Owner: owner, ID: id}) {
			continue
		}
		if err := os.Remove(filepath.Join(e.leases(), entry.Name())); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (e *Executor) leases() string { return filepath.Join(e.o.Dir, ".leases") }

// vacating says that an environment is being closed, vacated that its volumes are free, or that they will not be soon.
func (h *Host) vacating(ref executor.Ref) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaving == nil {
		h.leaving = map[string]chan struct{}{}
	}
	if h.leaving[ref.String()] == nil {
		h.leaving[ref.String()] = make(chan struct{})
	}
}

func (h *Host) vacated(ref executor.Ref) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.leaving[ref.String()]; c != nil {
		close(c)
		delete(h.leaving, ref.String())
	}
}

// awaitVacated waits for an environment that is being closed and reports whether it was, and ctx has not ended.
func (h *Host) awaitVacated(ctx context.Context, ref string) bool {
	h.mu.Lock()
	c := h.leaving[ref]
	h.mu.Unlock()
	if c == nil {
		return false
	}
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}
