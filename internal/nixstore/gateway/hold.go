package gateway

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

// Holder keeps store paths from being collected for as long as the job lasts, also when the connections that asked for
// them are closed. It is safe for concurrent use.
type Holder interface {
	// Hold makes roots of paths, which need not be valid (yet) and may be held already. When it returns nil the roots are
	// there for every collection that begins from now on.
	Hold(ctx context.Context, paths []nixwire.StorePath) error
	// Release takes back roots that Hold has made for paths that turned out not to be valid.
	Release(paths []nixwire.StorePath)
	// Ready waits until all that is held is safe, as it may not be while the daemon restarts.
	Ready(ctx context.Context) error
	// Close ends the holder. Links stay: whoever removes the job's environment removes them.
	Close() error
}

// links holds paths by files of their names in a directory of the job's own, which the daemon's collector looks through:
// like a link to the path such a file is a root (findRoots in Nix's libstore/gc.cc). They are hard links of one empty
// file, which are made several times as fast as symbolic ones: those are too long to be kept in an inode.
type links struct {
	dir *os.Root
	mu  sync.Mutex // of making seed anew
}

// seed is the file that all are links of; no store path has such a name.
const seed = ".root"

// newLinks makes the directory jobs/JOB below roots.
func newLinks(roots, job string) (*links, error) {
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
	return &links{dir: dir}, nil
}

// Hold implements Holder.
func (l *links) Hold(_ context.Context, paths []nixwire.StorePath) error {
	for _, p := range paths {
		if err := l.hold(p); err != nil {
			return fmt.Errorf("make a root of %s: %w", p, err)
		}
	}
	return nil
}

func (l *links) hold(p nixwire.StorePath) error {
	for range 3 {
		err := l.dir.Link(seed, p.Base())
		switch {
		case err == nil || errors.Is(err, fs.ErrExist):
			return nil
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EMLINK): // a file has so many names only
			if err := l.sow(); err != nil {
				return err
			}
		default:
			return l.symlink(p)
		}
	}
	return l.symlink(p)
}

// symlink makes a symbolic link, where a file system knows no others.
func (l *links) symlink(p nixwire.StorePath) error {
	err := l.dir.Symlink(string(p), p.Base())
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// sow makes the file anew that has names.
func (l *links) sow() error {
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
func (l *links) Release(paths []nixwire.StorePath) {
	for _, p := range paths {
		_ = l.dir.Remove(p.Base()) // a link too many keeps a path for the time of a job
	}
}

// Ready implements Holder.
func (*links) Ready(context.Context) error { return nil }

// Close implements Holder.
func (l *links) Close() error { return l.dir.Close() }
