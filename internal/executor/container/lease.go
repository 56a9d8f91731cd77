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
	dir := e.leases()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("make the directory for leases: %w", err)
	}
	// The file appears with its content, so that nobody takes an empty one for a lease of nobody.
	mine := filepath.Join(dir, "."+ref.ID)
	if err := os.WriteFile(mine, []byte(ref.String()), 0o600); err != nil {
		return 0, fmt.Errorf("lease the job's volumes: %w", err)
	}
	defer os.Remove(mine)
	for n := 0; ; n++ {
		path := filepath.Join(dir, volumeName(ref.Owner, e.o.Scope, j, "", n))
		err := os.Link(mine, path)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0, fmt.Errorf("lease the job's volumes: %w", err)
		}
		if holder, err := os.ReadFile(path); err == nil && string(holder) == ref.String() {
			return n, nil
		}
	}
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

func (e *Executor) leases() string { return filepath.Join(e.o.Dir, ".leases") }
