// Package view shows a job a part of a store: copies of the paths that it knows, in a directory that it has mounted as its
// store, where nothing else is. The paths' data are shared where the file system can do that (copy_file_range(2)).
package view

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// View is the part of a store that a job sees. It is safe for concurrent use.
type View struct {
	store, dir *os.Root
	ctx        context.Context //nolint:containedctx // of the copies, which several may wait for
	stop       context.CancelFunc
	copying    sync.WaitGroup
	turns      chan struct{} // one value for each copy at work

	mu     sync.Mutex
	copies map[nixwire.StorePath]*replica
	shown  map[nixwire.StorePath]bool // with all that they refer to
}

// replica is a copy that is being made, or is there.
type replica struct {
	done chan struct{}
	err  error
}

// Error is that a path could not be shown.
type Error struct {
	Path nixwire.StorePath
	Err  error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s cannot be shown to this job, which sees only those paths of the machine's store that it knows (host_store in [runners.nix]): %v", e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// fresh begins the names of copies that are not complete; no store path has such a name.
const fresh = ".new-"

// New returns a view in dir, which only the caller can write to and which must exist, of the store in the directory store.
// What an earlier view has left there counts. The caller closes it.
func New(store, dir string) (*View, error) {
	from, err := os.OpenRoot(store)
	if err != nil {
		return nil, fmt.Errorf("open the machine's store: %w", err)
	}
	v := &View{
		store: from, turns: make(chan struct{}, min(runtime.NumCPU(), 4)),
		copies: map[nixwire.StorePath]*replica{}, shown: map[nixwire.StorePath]bool{},
	}
	v.ctx, v.stop = context.WithCancel(context.Background())
	if v.dir, err = os.OpenRoot(dir); err == nil {
		err = v.recall(dir)
	}
	if err != nil {
		v.Close()
		return nil, fmt.Errorf("open the directory that the job sees as its store: %w", err)
	}
	return v, nil
}

// recall finds what is there, and removes what was not completed.
func (v *View) recall(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fresh) {
			if err := v.dir.RemoveAll(e.Name()); err != nil {
				return err
			}
		} else if p, err := nixwire.FromBase(e.Name()); err == nil {
			c := &replica{done: make(chan struct{})}
			close(c.done)
			v.copies[p] = c
		}
	}
	return err
}

// Close ends the view, and what is being copied. What is shown stays.
func (v *View) Close() {
	v.stop()
	v.copying.Wait()
	_ = v.store.Close() // they were read, and opened for their names
	if v.dir != nil {
		_ = v.dir.Close()
	}
}

// Shows reports whether a path is there, with all that it refers to.
func (v *View) Shows(p nixwire.StorePath) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.shown[p]
}

// Shown are all paths of which Shows is true, in no order.
func (v *View) Shown() []nixwire.StorePath {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]nixwire.StorePath, 0, len(v.shown))
	for p := range v.shown {
		all = append(all, p)
	}
	return all
}

// Show makes copies of valid paths. With each that is not shown yet, paths has those that it refers to; the caller keeps them
// from being collected meanwhile. An *Error names a path that could not be copied; it is tried again by the next who wants it.
func (v *View) Show(ctx context.Context, paths []nixwire.StorePath) error {
	list := make([]*replica, len(paths))
	for i, p := range paths {
		list[i] = v.begin(p)
	}
	for i, c := range list {
		select {
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if c.err != nil {
			return &Error{paths[i], c.err}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range paths {
		v.shown[p] = true
	}
	return nil
}

// begin has a path copied, unless it is or was.
func (v *View) begin(p nixwire.StorePath) *replica {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.copies[p]; c != nil {
		return c
	}
	c := &replica{done: make(chan struct{})}
	v.copies[p] = c
	v.copying.Go(func() {
		defer close(c.done)
		v.turns <- struct{}{}
		c.err = v.copy(p.Base())
		<-v.turns
		if c.err != nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			delete(v.copies, p)
		}
	})
	return c
}
