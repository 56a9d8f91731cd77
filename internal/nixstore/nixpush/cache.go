package nixpush

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

// Cache is a binary cache that is written to. It is safe for concurrent use, also by several processes: an object is there
// as a whole, or not at all. Its errors say which cache it is, and show no secrets.
type Cache interface {
	// Has reports whether there is an object of that name.
	Has(ctx context.Context, name string) (bool, error)
	// Put writes an object, or replaces it by one of the same meaning.
	Put(ctx context.Context, name string, o Object) error
	// String is the cache for people.
	String() string
}

// Object is what is put into a cache.
type Object struct {
	Type    string // of its content, as HTTP calls it
	Size    int64
	Content io.ReaderAt
}

func (o Object) reader() *io.SectionReader { return io.NewSectionReader(o.Content, 0, o.Size) }

// Open returns the cache at an address. Getenv finds what the runner's environment says of logins.
func Open(address nixopt.Push, getenv func(string) string) (Cache, error) {
	switch address.Scheme {
	case "file":
		return directory(address.Dir), nil
	case "s3":
		return openBucket(address)
	default:
		return openSite(address.URL, getenv)
	}
}

// directory is a cache in a directory.
type directory string

func (d directory) String() string { return "file://" + string(d) }

// Has implements Cache.
func (d directory) Has(_ context.Context, name string) (bool, error) {
	_, err := os.Stat(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Put implements Cache.
func (d directory) Put(ctx context.Context, name string, o Object) (err error) {
	at := filepath.Join(string(d), name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // others read it
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(at), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), at)
		}
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", at, err)
		}
	}()
	if _, err := io.Copy(f, whileAlive{ctx, o.reader()}); err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o644), f.Sync()) //nolint:gosec // others read it
}

// whileAlive reads until a context ends.
type whileAlive struct {
	ctx context.Context //nolint:containedctx // that of one copy
	r   io.Reader
}

func (w whileAlive) Read(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.r.Read(p)
}
