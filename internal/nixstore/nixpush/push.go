// Package nixpush writes store paths to a Nix binary cache: compressed archives and, after them, signed descriptions, what a
// path refers to before the path itself. So at any moment all that a cache offers can be fetched whole, whoever else
// writes to it, and whenever a pusher is killed. What the cache has is not sent again.
package nixpush

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
)

// Source is a store that paths are pushed from. Open returns the archive of a path, whose reading ctx ends; the caller closes it
// before it opens another.
type Source interface {
	Open(ctx context.Context, p Path) (io.ReadCloser, error)
}

// Pusher pushes to one cache, and remembers what that has. Its fields do not change while it pushes.
type Pusher struct {
	Cache Cache
	Key   Key
	Plain bool   // archives are not compressed
	Dir   string // where archives lie until they are sent; empty: the usual place

	patience time.Duration                                   // 0: the usual one
	measure  func(dir string) (free, total int64, err error) // nil: the real one

	mu    sync.Mutex
	known map[string]bool // paths that the cache has
	since time.Time       // has known been empty
}

// Done is what a push has come to.
type Done struct {
	Paths int   // that were sent
	Bytes int64 // that were sent of archives
	Bad   map[string]error
	// Left are the paths that the cache does not have but for Bad, and why.
	Left map[string]error
}

// PathError is that a path of the store is not what its database says: trying again does not help.
type PathError struct {
	Path string
	Err  error
}

func (e *PathError) Error() string { return fmt.Sprintf("%s cannot be pushed: %v", e.Path, e.Err) }

func (e *PathError) Unwrap() error { return e.Err }

// RefusedError is that a cache, or the place where archives lie until they are sent, does not take one object, as it is too large for
// instance. It may take others.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// maxRefused is how many objects a cache may refuse, one after the other, until it is taken to refuse all that are no smaller.
const maxRefused = 10

// Push sends those of paths that the cache does not have. They are closed under references, and each comes after those that
// it refers to. Those that are bad, or refer to bad ones, are left out and in Done.Bad; those that are refused, or refer to such,
// are left out as well, and the error is that of the first. Any other error ends the push. What was sent is good.
func (p *Pusher) Push(ctx context.Context, from Source, paths []Path) (Done, error) {
	done := Done{Bad: map[string]error{}, Left: map[string]error{}}
	missing, err := p.missing(ctx, paths)
	if err == nil && len(missing) > 0 {
		err = p.introduce(ctx)
	}
	if err != nil {
		done.leave(paths, err)
		return done, err
	}
	var first error
	refusals, smallest := 0, int64(math.MaxInt64)
	for i, path := range missing {
		if done.depends(path) {
			continue
		}
		if refusals > maxRefused && path.Size >= smallest {
			done.Left[path.Path] = first
			continue
		}
		n, err := p.send(ctx, from, path)
		var bad *PathError
		var refused *RefusedError
		if err != nil && !errors.As(err, &bad) {
			err = fmt.Errorf("push %s to %s: %w", path.Path, p.Cache, err)
		}
		switch {
		case err == nil:
			done.Paths, done.Bytes, refusals = done.Paths+1, done.Bytes+n, 0
			p.know(path.Path)
		case bad != nil:
			done.Bad[path.Path] = err
		case errors.As(err, &refused):
			done.Left[path.Path], first = err, cmp.Or(first, err)
			refusals, smallest = refusals+1, min(smallest, path.Size)
		default:
			done.leave(missing[i:], err)
			return done, err
		}
	}
	return done, first
}

// leave says that paths are not there.
func (d *Done) leave(paths []Path, why error) {
	for _, p := range paths {
		d.Left[p.Path] = why
	}
}

// depends reports whether a path cannot be pushed because of one that it refers to, and says so.
func (d *Done) depends(path Path) bool {
	for _, r := range path.References {
		if err := d.Bad[r]; err != nil {
			d.Bad[path.Path] = &PathError{path.Path, err}
			return true
		}
	}
	for _, r := range path.References {
		if err := d.Left[r]; err != nil {
			d.Left[path.Path] = err
			return true
		}
	}
	return false
}

func (p *Pusher) know(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) > maxKnown || time.Since(p.since) > knownFor {
		p.known, p.since = map[string]bool{}, time.Now()
	}
	p.known[path] = true
}

func (p *Pusher) knows(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[path] && time.Since(p.since) <= knownFor
}

const (
	// maxKnown is how many paths are remembered, and knownFor for how long: somebody may delete from the cache.
	maxKnown = 100_000
	knownFor = time.Hour
	// atOnce is how many questions a cache is asked at once.
	atOnce = 16
)

// missing are the paths that the cache does not have, in their order.
func (p *Pusher) missing(ctx context.Context, paths []Path) ([]Path, error) {
	has, errs := make([]bool, len(paths)), make([]error, len(paths))
	var asking sync.WaitGroup
	room := make(chan struct{}, atOnce)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, path := range paths {
		if has[i] = p.knows(path.Path); has[i] {
			continue
		}
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			if has[i], errs[i] = p.Cache.Has(ctx, path.hashPart()+".narinfo"); errs[i] != nil {
				cancel()
			}
		})
	}
	asking.Wait()
	var missing []Path
	for i, path := range paths {
		if errs[i] != nil && !errors.Is(errs[i], context.Canceled) {
			return nil, fmt.Errorf("ask %s what it has: %w", p.Cache, errs[i])
		}
		if has[i] {
			p.know(path.Path)
		} else {
			missing = append(missing, path)
		}
	}
	return missing, context.Cause(ctx)
}

// Reach finds out whether the cache can be asked at all, and is one: what answers to everything, as the page of a login does, has
// nothing that was ever pushed.
func (p *Pusher) Reach(ctx context.Context) error {
	said, there, err := p.Cache.Get(ctx, cacheInfo)
	if err == nil && there {
		err = checkInfo(said)
	}
	if err != nil {
		return fmt.Errorf("reach the binary cache %s: %w", p.Cache, err)
	}
	return nil
}

// cacheInfo says of a cache what it is.
const cacheInfo = "nix-cache-info"

const storeDir = "/nix/store"

// checkInfo reads a cache's description. Source: Nix, src/libstore/binary-cache-store.cc, init.
func checkInfo(said []byte) error {
	for line := range strings.Lines(string(said)) {
		if dir, is := strings.CutPrefix(line, "StoreDir:"); is {
			if dir = strings.TrimSpace(dir); dir != storeDir {
				return fmt.Errorf("it is one of paths in %s, and not in %s", dir, storeDir)
			}
			return nil
		}
	}
	return fmt.Errorf("its %s does not say StoreDir, but %.*q: something else answers at this address, such as the page of a login", cacheInfo, maxSaid, said)
}

// introduce says in a new cache what it is.
func (p *Pusher) introduce(ctx context.Context) error {
	has, err := p.Cache.Has(ctx, cacheInfo)
	if err == nil && !has {
		const text = "StoreDir: " + storeDir + "\n"
		err = p.Cache.Put(ctx, cacheInfo, Object{Type: "text/x-nix-cache-info", Size: int64(len(text)), Content: strings.NewReader(text)})
	}
	if err != nil {
		return fmt.Errorf("make %s a binary cache: %w", p.Cache, err)
	}
	return nil
}

// send sends one path, and returns how many bytes of its archive were sent.
func (p *Pusher) send(ctx context.Context, from Source, path Path) (int64, error) {
	f, err := os.CreateTemp(p.Dir, "push-*")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // it is gone whatever becomes of us
		return 0, err
	}
	a, err := p.pack(ctx, from, path, f)
	if err != nil {
		return 0, err
	}
	info, err := path.narinfo(a, p.Key)
	if err != nil {
		return 0, &PathError{path.Path, err}
	}
	var sent int64
	has, err := p.Cache.Has(ctx, a.name)
	if err == nil && !has {
		sent = a.size
		err = p.Cache.Put(ctx, a.name, Object{Type: "application/x-nix-nar", Size: a.size, Content: f})
	}
	if err != nil {
		return 0, err
	}
	text := string(info)
	return sent, p.Cache.Put(ctx, path.hashPart()+".narinfo", Object{Type: "text/x-nix-narinfo", Size: int64(len(text)), Content: strings.NewReader(text)})
}
