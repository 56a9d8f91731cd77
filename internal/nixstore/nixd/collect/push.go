package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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
	// Bad says of those in Queue that are not in Paths why they can never be pushed.
	Bad map[string]string `json:"bad,omitempty"`
}

// queued are the roots of what is to be pushed: at once the queue, and what holds it.
func queued(l volumes.Layout) string { return filepath.Join(l.Pushes(), "queue") }

// Queue has what jobs that have ended have built pushed, before it releases their roots, and returns all that is pending. On a full
// disk it does so with what is in the queue already; the jobs keep their roots.
func Queue(ctx context.Context, l volumes.Layout, over Over) (Pending, error) {
	err := queueAll(ctx, l, over)
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		return Pending{}, err
	}
	p, pendingErr := pending(ctx, l)
	if pendingErr == nil && err != nil && len(p.Queue) == 0 {
		return Pending{}, err
	}
	return p, pendingErr
}

func queueAll(ctx context.Context, l volumes.Layout, over Over) error {
	for _, job := range over.Jobs {
		if err := queue(ctx, l, job); err != nil {
			return err
		}
		if _, err := release(l, job, time.Now()); err != nil {
			return err
		}
	}
	_, err := releaseDead(ctx, l, Order{Live: over.Live, AsOf: over.AsOf, Push: true})
	return err
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

const (
	// maxPending is how many paths of the queue are told at once,
	maxPending = 1000
	// maxBelow how many paths there are with what is below them until no other is told: an answer is no stream.
	maxBelow = 20_000
)

func pending(ctx context.Context, l volumes.Layout) (Pending, error) {
	none := Pending{Queue: []string{}, Paths: []worker.Info{}}
	paths, err := volumes.RootsIn(queued(l))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(paths) == 0 {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	w, err := worker.Dial(ctx, l.Socket())
	if err != nil {
		return none, err
	}
	defer w.Close()
	return gather(w.Info, some(paths, maxPending))
}

// some are n paths of a longer queue, others each time: what no cache takes stays in the queue, and must not keep the rest from
// their turn.
func some(queue []string, n int) []string {
	if len(queue) <= n {
		return queue
	}
	queue = slices.Clone(queue)
	rand.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] }) //nolint:gosec // no secret
	return queue[:n]
}

// gather describes what is to be pushed of a queue.
func gather(info func(path string) (worker.Info, bool, error), queue []string) (Pending, error) {
	all := Pending{Queue: []string{}, Paths: []worker.Info{}, Bad: map[string]string{}}
	c := closure{info: info, seen: map[string]bool{}, bad: map[string]string{}}
	for _, p := range queue {
		if len(c.all) >= maxBelow {
			break
		}
		why, err := c.add(p)
		if err != nil {
			return all, err
		}
		all.Queue = append(all.Queue, p)
		if why != "" {
			all.Bad[p] = why
		}
	}
	all.Paths = append(all.Paths, c.all...)
	return all, nil
}

// closure gathers paths with all below them, in the order in which they can be added to a store.
type closure struct {
	info func(path string) (worker.Info, bool, error)
	seen map[string]bool
	bad  map[string]string // why
	all  []worker.Info
}

// add adds a path after those that it refers to, or says why it and all below it are not a whole: then it is left out, with
// what refers to the missing one.
func (c *closure) add(top string) (why string, err error) {
	type step struct {
		info worker.Info
		next int // reference
	}
	var stack []step
	enter := func(p, by string) (why string, err error) {
		if c.bad[p] != "" || c.seen[p] {
			return c.bad[p], nil
		}
		i, valid, err := c.info(p)
		switch {
		case err != nil:
			return "", fmt.Errorf("push: ask about %s: %w", p, err)
		case valid:
			c.seen[p] = true
			stack = append(stack, step{info: i})
		case by == "":
			why = "it is not in the store any more: somebody has deleted it in spite of its root"
		default:
			why = fmt.Sprintf("%s refers to %s, which is not in the store: the store is damaged, and `nix-store --verify` tells where", by, p)
		}
		return why, nil
	}
	why, err = enter(top, "")
	for err == nil && why == "" && len(stack) > 0 {
		s := &stack[len(stack)-1]
		if s.next == len(s.info.References) {
			c.all = append(c.all, s.info)
			stack = stack[:len(stack)-1]
			continue
		}
		s.next++
		why, err = enter(s.info.References[s.next-1], s.info.Path)
	}
	if why != "" {
		for _, s := range stack {
			c.bad[s.info.Path] = why
		}
	}
	return why, err
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
