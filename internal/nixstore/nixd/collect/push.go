package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
)

// Over says which jobs have ended: those in Jobs, and, with AsOf, all that are not in Live.
type Over struct {
	Jobs []string  `json:"jobs,omitempty"`
	Live []string  `json:"live,omitempty"`
	AsOf time.Time `json:"asOf,omitzero"` // when Live was made
}

// Pending is what is to be pushed.
type Pending struct {
	Queue []string      `json:"queue"` // the paths that jobs have built
	Paths []worker.Info `json:"paths"` // these and all below, what is referred to first
}

// queued are the roots of what is to be pushed: at once the queue, and what holds it.
func queued(l volumes.Layout) string { return filepath.Join(l.Pushes(), "queue") }

// Queue has what jobs that have ended have built pushed, before it releases their roots, and returns all that is pending.
func Queue(ctx context.Context, l volumes.Layout, over Over) (Pending, error) {
	for _, job := range over.Jobs {
		if err := queue(ctx, l, job); err != nil {
			return Pending{}, err
		}
		if _, err := release(l, job, time.Now()); err != nil {
			return Pending{}, err
		}
	}
	if _, err := releaseDead(ctx, l, Order{Live: over.Live, AsOf: over.AsOf, Push: true}); err != nil {
		return Pending{}, err
	}
	return pending(ctx, l)
}

// queue has pushed what a job knows and this store's daemon has built. The job's own roots hold it meanwhile.
func queue(ctx context.Context, l volumes.Layout, job string) error {
	if !isRootName(job) {
		return fmt.Errorf("push: %q is no job's name", job)
	}
	paths, err := volumes.RootsIn(filepath.Join(l.Jobs(), job))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(paths) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := worker.Dial(ctx, l.Socket())
	if err != nil {
		return err
	}
	defer w.Close()
	if err := os.MkdirAll(queued(l), 0o755); err != nil {
		return err
	}
	for _, p := range paths {
		if strings.HasSuffix(p, ".drv") {
			continue
		}
		i, valid, err := w.Info(p)
		if err != nil {
			return fmt.Errorf("push: ask about %s: %w", p, err)
		}
		if valid && i.Built {
			if err := volumes.Root(queued(l), filepath.Base(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxPending is how many paths of the queue are told at once.
const maxPending = 1000

func pending(ctx context.Context, l volumes.Layout) (Pending, error) {
	all := Pending{Queue: []string{}, Paths: []worker.Info{}}
	paths, err := volumes.RootsIn(queued(l))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(paths) == 0 {
		return all, nil
	}
	if err != nil {
		return all, err
	}
	w, err := worker.Dial(ctx, l.Socket())
	if err != nil {
		return all, err
	}
	defer w.Close()
	c := closure{w: w, seen: map[string]bool{}}
	for _, p := range paths[:min(len(paths), maxPending)] {
		valid, err := c.add(p)
		switch {
		case err != nil:
			return all, err
		case valid:
			all.Queue = append(all.Queue, p)
		default: // somebody has deleted it in spite of its root
			_ = os.Remove(filepath.Join(queued(l), filepath.Base(p)))
		}
	}
	all.Paths = c.all
	return all, nil
}

// closure gathers paths with all below them, in the order in which they can be added to a store.
type closure struct {
	w    *worker.Conn
	seen map[string]bool
	all  []worker.Info
}

// add adds a path after those that it refers to.
func (c *closure) add(top string) (valid bool, err error) {
	if c.seen[top] {
		return true, nil
	}
	type step struct {
		info worker.Info
		next int // reference
	}
	var stack []step
	enter := func(p string) (bool, error) {
		i, valid, err := c.w.Info(p)
		if err != nil {
			return false, fmt.Errorf("push: ask about %s: %w", p, err)
		}
		if valid {
			c.seen[p] = true
			stack = append(stack, step{info: i})
		}
		return valid, nil
	}
	if valid, err := enter(top); err != nil || !valid {
		return false, err
	}
	for len(stack) > 0 {
		s := &stack[len(stack)-1]
		if s.next == len(s.info.References) {
			c.all = append(c.all, s.info)
			stack = stack[:len(stack)-1]
			continue
		}
		r := s.info.References[s.next]
		s.next++
		if c.seen[r] {
			continue
		}
		if valid, err := enter(r); err != nil {
			return false, err
		} else if !valid {
			return false, fmt.Errorf("push: %s refers to %s, which is not in the store: it is damaged", s.info.Path, r)
		}
	}
	return true, nil
}

// dropQueue releases what is in the queue where nobody is to push it any more.
func dropQueue(l volumes.Layout, c Order) error {
	if c.Push || c.AsOf.IsZero() {
		return nil
	}
	_, err := volumes.Retire(l, queued(l), time.Now())
	return err
}

// Pushed takes paths out of the queue.
func Pushed(l volumes.Layout, paths []string) (int, error) {
	n := 0
	for _, p := range paths {
		b := volumes.Basename(p)
		if b == "" {
			return n, fmt.Errorf("pushed: %q is not in %s", p, volumes.StoreDir)
		}
		err := os.Remove(filepath.Join(queued(l), b))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		if err == nil {
			n++
		}
	}
	return n, nil
}
