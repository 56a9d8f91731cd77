package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
)

// sweeper deletes what a collection has planned.
type sweeper struct {
	l    volumes.Layout
	c    Order
	g    volumes.Graph
	plan []doomed
	done *Result

	alive map[string]bool // came to life meanwhile, with all below
	gone  map[string]bool
	lost  int // connections
	w     *worker.Conn
}

// batchPaths is how many paths Nix is asked to delete at once: each time it reads all roots.
const batchPaths = 2048

func (s *sweeper) run(ctx context.Context) error {
	s.alive, s.gone = map[string]bool{}, map[string]bool{}
	defer func() {
		if s.w != nil {
			s.w.Close()
		}
	}()
	for len(s.plan) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		batch, err := s.next()
		if err != nil || len(batch) == 0 {
			return err
		}
		if s.c.DryRun {
			for _, d := range batch {
				s.deleted(d, d.size)
			}
			continue
		}
		if batch, err = s.still(batch); err != nil {
			return err
		}
		if err := s.remove(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// next takes from the plan what may go together and still has to go; nothing when enough is free.
func (s *sweeper) next() ([]doomed, error) {
	want, err := s.wanted()
	if err != nil {
		return nil, err
	}
	var batch []doomed
	var bytes int64
	in := map[string]bool{}
	for len(s.plan) > 0 && len(batch) < batchPaths {
		d := s.plan[0]
		if s.alive[d.base] {
			s.plan = s.plan[1:]
			continue
		}
		limit := want.young
		if d.expired {
			limit = want.expired
		}
		if bytes >= limit || in[d.base] {
			break
		}
		for _, r := range s.g[d.base].Refs {
			in[r] = in[r] || r != d.base // it has to wait for the next batch
		}
		batch, bytes = append(batch, d), bytes+d.size
		s.plan = s.plan[1:]
	}
	return batch, nil
}

// wanted is how many bytes are still to be freed by paths that have expired, and by others.
type wanted struct{ expired, young int64 }

func (s *sweeper) wanted() (wanted, error) {
	w := wanted{expired: 1 << 62}
	if s.c.MaxFreed > 0 {
		w.expired = max(s.c.MaxFreed-s.done.Freed, 0)
	}
	if s.c.MinFree > 0 {
		free, err := freeBytes(s.l)
		if err != nil {
			return w, err
		}
		if s.c.DryRun {
			free += s.done.Freed
		}
		w.young = min(max(s.c.MinFree-free, 0), w.expired)
	}
	return w, nil
}

func (s *sweeper) deleted(d doomed, freed int64) {
	s.gone[d.base] = true
	if s.done.Count++; s.done.Count <= MaxPaths {
		s.done.Paths = append(s.done.Paths, volumes.StoreDir+"/"+d.base)
	}
	s.done.Freed += freed
}

// maxRefusals is how often a batch is tried again. In a store in which so much comes to life, the next collection will
// do better, as it knows what has come.
const maxRefusals = 32

// remove deletes a batch. Nix stops at a path that has come to life, or to which something new refers: it is left out, and
// the rest is tried again.
func (s *sweeper) remove(ctx context.Context, batch []doomed) error {
	slices.SortFunc(batch, func(a, b doomed) int { // as Nix goes through them
		if a.base < b.base {
			return -1
		}
		return 1
	})
	for tries := 0; len(batch) > 0; tries++ {
		if tries > maxRefusals {
			for _, d := range batch {
				s.spare(d)
			}
			s.done.Kept += len(batch)
			return nil
		}
		freed, err := s.ask(ctx, batch)
		rest := s.account(batch, freed, err != nil)
		var refused *nixconn.FailureError
		switch {
		case err == nil, errors.As(err, &refused) && len(rest) == 0: // it ended by itself, as a build's lock does
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("gc: %w", context.Cause(ctx))
		case errors.As(err, &refused):
			s.spare(rest[0])
		case s.w == nil, s.lost >= maxLost:
			return fmt.Errorf("gc: delete by nix-daemon: %w", err)
		default:
			s.lost++
			s.w.Close()
			s.w = nil
		}
		if batch, err = s.still(rest); err != nil {
			return err
		}
	}
	return nil
}

// maxLost is how many connections a collection may lose: nix-daemon may be restarted, and that of Nix 2.8 sometimes crashes
// when many claim paths while it deletes ("terminate called without an active exception").
const maxLost = 10

func (s *sweeper) ask(ctx context.Context, batch []doomed) (freed int64, err error) {
	if s.w == nil {
		if s.w, err = worker.Dial(ctx, s.l.Socket()); err != nil {
			return 0, err
		}
	}
	paths := make([]string, len(batch))
	for i, d := range batch {
		paths[i] = volumes.StoreDir + "/" + d.base
	}
	return s.w.Remove(paths)
}

// account counts what is gone and returns what is not. After a refusal Nix does not say what it has freed.
func (s *sweeper) account(batch []doomed, freed int64, refused bool) (rest []doomed) {
	for _, d := range batch {
		if _, err := os.Lstat(s.l.Store() + "/" + d.base); err == nil || !errors.Is(err, fs.ErrNotExist) {
			rest = append(rest, d)
			continue
		}
		size := d.size
		if !refused {
			size, freed = freed, 0 // all on the first
		}
		s.deleted(d, size)
	}
	return rest
}

// still is what of a batch nothing holds now. Its recent roots are forgotten, for they would keep it alive.
func (s *sweeper) still(batch []doomed) ([]doomed, error) {
	h, err := findHolders(s.l)
	if err != nil {
		return nil, err
	}
	for base := range h.held(s.g) {
		s.alive[base] = true
	}
	batch = slices.DeleteFunc(batch, func(d doomed) bool {
		if s.alive[d.base] {
			s.done.Kept++
		}
		return s.alive[d.base]
	})
	for _, d := range batch {
		for _, by := range h[d.base] {
			if isRecent(by) {
				forget(s.l, by, d.base)
			}
		}
	}
	return batch, nil
}

// spare leaves a path and all below it alone.
func (s *sweeper) spare(d doomed) {
	set := map[string]bool{d.base: true}
	s.g.Close(set)
	for base := range set {
		s.alive[base] = true
	}
}
