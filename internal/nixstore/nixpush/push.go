// Package nixpush writes store paths to a Nix binary cache: compressed archives and, after them, signed descriptions, what a
// path refers to before the path itself. So at any moment all that a cache offers can be fetched whole, whoever else
// writes to it, and whenever a pusher is killed. What the cache has is not sent again.
package nixpush

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Source is a store that paths are pushed from. Open returns the archive of a path; the caller closes it before it opens
// another.
type Source interface {
	Open(ctx context.Context, p Path) (io.ReadCloser, error)
}

// Pusher pushes to one cache, and remembers what that has. Its fields do not change while it pushes.
type Pusher struct {
	Cache Cache
	Key   Key
	Plain bool   // archives are not compressed
	Dir   string // where archives lie until they are sent; empty: the usual place

	mu    sync.Mutex
	known map[string]bool // paths that the cache has
	since time.Time       // has known been empty
}

// Done is what a push has come to.
type Done struct {
	Paths int   // that were sent
	Bytes int64 // that were sent of archives
	Bad   map[string]error
}

// PathError is that a path of the store is not what its database says: trying again does not help.
type PathError struct {
	Path string
	Err  error
}

func (e *PathError) Error() string { return fmt.Sprintf("%s cannot be pushed: %v", e.Path, e.Err) }

func (e *PathError) Unwrap() error { return e.Err }

// Push sends those of paths that the cache does not have. They are closed under references, and each comes after those that
// it refers to. Those that are bad, or refer to bad ones, are left out and in Done.Bad; any other error ends the push, and
// what was sent before is good.
func (p *Pusher) Push(ctx context.Context, from Source, paths []Path) (Done, error) {
	done := Done{Bad: map[string]error{}}
	missing, err := p.missing(ctx, paths)
	if err != nil || len(missing) == 0 {
		return done, err
	}
	if err := p.introduce(ctx); err != nil {
		return done, err
	}
	for _, path := range missing {
		if bad := spoilt(path, done.Bad); bad != nil {
			done.Bad[path.Path] = bad
			continue
		}
		n, err := p.send(ctx, from, path)
		var bad *PathError
		switch {
		case errors.As(err, &bad):
			done.Bad[path.Path] = err
		case err != nil:
			return done, fmt.Errorf("push %s to %s: %w", path.Path, p.Cache, err)
		default:
			done.Paths, done.Bytes = done.Paths+1, done.Bytes+n
			p.know(path.Path)
		}
	}
	return done, nil
}

// spoilt is why a path cannot be pushed because of one that it refers to.
func spoilt(path Path, bad map[string]error) error {
	for _, r := range path.References {
		if err := bad[r]; err != nil {
			return &PathError{path.Path, err}
		}
	}
	return nil
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

// Reach finds out whether the cache can be asked at all.
func (p *Pusher) Reach(ctx context.Context) error {
	if _, err := p.Cache.Has(ctx, cacheInfo); err != nil {
		return fmt.Errorf("reach the binary cache %s: %w", p.Cache, err)
	}
	return nil
}

// cacheInfo says of a cache what it is.
const cacheInfo = "nix-cache-info"

// introduce says in a new cache what it is.
func (p *Pusher) introduce(ctx context.Context) error {
	has, err := p.Cache.Has(ctx, cacheInfo)
	if err == nil && !has {
		const text = "StoreDir: /nix/store\n"
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

// pack writes a path's archive to a file, and checks it on its way.
func (p *Pusher) pack(ctx context.Context, from Source, path Path, to io.Writer) (archive, error) {
	r, err := from.Open(ctx, path)
	if err != nil {
		return archive{}, err
	}
	defer r.Close()
	packed, content := &meter{w: to, hash: sha256.New()}, sha256.New()
	a := archive{compression: "none"}
	var w io.WriteCloser = unpacked{packed}
	suffix := ""
	if !p.Plain {
		a.compression, suffix = "zstd", ".zst"
		if w, err = zstd.NewWriter(packed, zstd.WithEncoderConcurrency(1)); err != nil {
			return a, err
		}
	}
	n, err := io.Copy(io.MultiWriter(w, content), io.LimitReader(r, path.Size+1))
	if err = errors.Join(err, w.Close()); err != nil {
		return a, fmt.Errorf("read its archive: %w", err)
	}
	if n < path.Size {
		return a, fmt.Errorf("read its archive: it ends after %d of %d bytes: %w", n, path.Size, io.ErrUnexpectedEOF)
	}
	if got := hex.EncodeToString(content.Sum(nil)); n > path.Size || got != path.Hash {
		return a, &PathError{path.Path, fmt.Errorf("its content is not what the store's database says (hash %s instead of %s): `nix-store --verify --check-contents` finds what is damaged", got, path.Hash)}
	}
	a.hash, a.size = packed.hash.Sum(nil), packed.n
	a.name = "nar/" + base32(a.hash) + ".nar" + suffix
	return a, nil
}

// meter counts and hashes what is written.
type meter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.hash.Write(b[:n])
	m.n += int64(n)
	return n, err
}

// unpacked is a writer that needs no end.
type unpacked struct{ io.Writer }

// Close implements io.Closer.
func (unpacked) Close() error { return nil }
