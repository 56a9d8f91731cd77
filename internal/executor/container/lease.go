package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// lease finds the lowest number of a set of volumes that no other job has: the volumes of one number
// belong to one job at a time. A lease is a file with the ref in it, so it outlives the process.
func (e *Executor) lease(ref executor.Ref, j *job.Job) (int, error) {
	for n := 0; ; n++ {
		name := volumeName(ref.Owner, e.o.Scope, j, "", n)
		err := e.take(ref, name)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
		if holder, err := os.ReadFile(filepath.Join(e.leases(), name)); err == nil && string(holder) == ref.String() {
			return n, nil
		}
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
	if err := os.WriteFile(mine, []byte(ref.String()), 0o600); err != nil {
		return fmt.Errorf("lease the job's volumes: %w", err)
	}
	defer os.Remove(mine)
	if err := os.Link(mine, filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("lease the job's volumes: %w", err)
	}
	return nil
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
