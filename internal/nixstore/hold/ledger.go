package hold

import (
	"context"
	"sync"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Ledger knows which paths a job has been told of. It is safe for concurrent use.
type Ledger struct {
	holder Holder
	mu     sync.Mutex
	paths  map[nixwire.StorePath]*entry
}

// entry is a path that is held, or may be.
type entry struct {
	asking int // so many are about to find out whether it is valid
	held   bool
}

// NewLedger returns an empty ledger.
func NewLedger(h Holder) *Ledger { return &Ledger{holder: h, paths: map[nixwire.StorePath]*entry{}} }

// Begin returns which of paths are not held yet, each once, after making roots of them. End must follow.
func (l *Ledger) Begin(ctx context.Context, paths []nixwire.StorePath) ([]nixwire.StorePath, error) {
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
		l.End(fresh, nil)
		return nil, err
	}
	return fresh, nil
}

// End says which of the fresh paths are valid; the others are released, unless somebody else is asking. It returns
// those that are held from now on and were not before.
func (l *Ledger) End(fresh []nixwire.StorePath, valid map[nixwire.StorePath]bool) []nixwire.StorePath {
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

// Held are all paths that are held.
func (l *Ledger) Held() []nixwire.StorePath {
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

// Holds reports whether a path is held.
func (l *Ledger) Holds(p nixwire.StorePath) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.paths[p]
	return e != nil && e.held
}

// Ready waits until all that is held is safe.
func (l *Ledger) Ready(ctx context.Context) error { return l.holder.Ready(ctx) }

// Close ends the holder.
func (l *Ledger) Close() error { return l.holder.Close() }
