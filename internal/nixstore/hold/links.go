package hold

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Links holds paths by files of their names in a directory of the job's own, which the daemon's collector looks through:
// like a link to the path such a file is a root (findRoots in Nix's libstore/gc.cc). They are hard links of one empty
// file, which are made several times as fast as symbolic ones: those are too long to be kept in an inode.
type Links struct {
	dir *os.Root
	mu  sync.Mutex // of making seed anew
}

// seed is the file that all are links of; no store path has such a name.
const seed = ".root"

// NewLinks makes the directory jobs/JOB below roots.
func NewLinks(roots, job string) (*Links, error) {
	root, err := os.OpenRoot(roots)
	if err != nil {
		return nil, fmt.Errorf("open the directory for the job's Nix roots: %w", err)
	}
	defer root.Close()
	name := filepath.Join("jobs", job)
	if err := root.MkdirAll(name, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory for the job's Nix roots: %w", err)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open the directory for the job's Nix roots: %w", err)
	}
	return &Links{dir: dir}, nil
}

// Hold implements Holder.
func (l *Links) Hold(_ context.Context, paths []nixwire.StorePath) error {
	for _, p := range paths {
		if _, err := l.hold(p); err != nil {
			return fmt.Errorf("make a root of %s: %w", p, err)
		}
	}
	return nil
}

// hold makes a root, unless it is there.
func (l *Links) hold(p nixwire.StorePath) (made bool, err error) {
	for range 3 {
		err := l.dir.Link(seed, p.Base())
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, fs.ErrExist):
			return false, nil
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EMLINK): // a file has so many names only
			if err := l.sow(); err != nil {
				return false, err
			}
		default:
			return l.symlink(p)
		}
	}
	return l.symlink(p)
}

// symlink makes a symbolic link, where a file system knows no others.
func (l *Links) symlink(p nixwire.StorePath) (made bool, err error) {
	err = l.dir.Symlink(string(p), p.Base())
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// sow makes the file anew that has names.
func (l *Links) sow() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.dir.Remove(seed); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := l.dir.OpenFile(seed, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// Release implements Holder.
func (l *Links) Release(paths []nixwire.StorePath) {
	for _, p := range paths {
		_ = l.dir.Remove(p.Base()) // a link too many keeps a path for the time of a job
	}
}

// Ready implements Holder.
func (*Links) Ready(context.Context) error { return nil }

// Close implements Holder.
func (l *Links) Close() error { return l.dir.Close() }
