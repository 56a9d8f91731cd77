package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

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

// links holds paths by symbolic links in a directory of the job's own, which the daemon's collector looks through.
type links struct{ dir *os.Root }

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
		if err := l.dir.Symlink(string(p), p.Base()); err != nil && !os.IsExist(err) {
			return fmt.Errorf("make a root of %s: %w", p, err)
		}
	}
	return nil
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

// ledger knows which paths a job has been told of. It is safe for concurrent use.
type ledger struct {
	holder Holder
	mu     sync.Mutex
	paths  map[nixwire.StorePath]*entry
}

// entry is a path that is held, or may be.
type entry struct {
	asking int // so many are about to find out whether it is valid
	held   bool
}

func newLedger(h Holder) *ledger { return &ledger{holder: h, paths: map[nixwire.StorePath]*entry{}} }

// begin returns which of paths are not held yet, each once, after making roots of them. end must follow.
func (l *ledger) begin(ctx context.Context, paths []nixwire.StorePath) ([]nixwire.StorePath, error) {
	var fresh []nixwire.StorePath
	seen := make(map[nixwire.StorePath]bool, len(paths))
	l.mu.Lock()
	for _, p := range paths {
		e := l.paths[p]
		if seen[p] || e != nil && e.held {
			continue
		}
		if e == nil {
			e = &entry{}
			l.paths[p] = e
		}
		e.asking++
		seen[p] = true
		fresh = append(fresh, p)
	}
	l.mu.Unlock()
	if len(fresh) == 0 {
		return nil, nil
	}
	if err := l.holder.Hold(ctx, fresh); err != nil {
		l.end(fresh, nil)
		return nil, err
	}
	return fresh, nil
}

// end says which of the fresh paths are valid; the others are released, unless somebody else is asking. It returns
// those that are held from now on and were not before.
func (l *ledger) end(fresh []nixwire.StorePath, valid map[nixwire.StorePath]bool) []nixwire.StorePath {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first, gone []nixwire.StorePath
	for _, p := range fresh {
		e := l.paths[p]
		e.asking--
		switch {
		case valid[p] && !e.held:
			e.held = true
			first = append(first, p)
		case !e.held && e.asking == 0:
			delete(l.paths, p)
			gone = append(gone, p)
		}
	}
	l.holder.Release(gone) // with the lock, so that nobody makes one of them a root again meanwhile
	return first
}

// held are all paths that are held.
func (l *ledger) held() []nixwire.StorePath {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []nixwire.StorePath
	for p, e := range l.paths {
		if e.held {
			all = append(all, p)
		}
	}
	return all
}

// holds reports whether a path is held.
func (l *ledger) holds(p nixwire.StorePath) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.paths[p]
	return e != nil && e.held
}
