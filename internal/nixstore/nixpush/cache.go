package nixpush

import (
	"context"
	"io"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

// Cache is a binary cache that is written to. It is safe for concurrent use, also by several processes: an object is there
// as a whole, or not at all. Its errors show no secrets.
type Cache interface {
	// Has reports whether there is an object of that name.
	Has(ctx context.Context, name string) (bool, error)
	// Get reads an object of at most a few kilobytes; ok is false when there is none, or as much as that is said.
	Get(ctx context.Context, name string) (content []byte, ok bool, err error)
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
		return &directory{dir: address.Dir}, nil
	case "s3":
		return openBucket(address)
	default:
		return openSite(address.URL, getenv)
	}
}
