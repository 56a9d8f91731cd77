package view

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// endless is a file that is larger than anybody waits for; done is called when the first of it is read.
type endless struct{ done func() }

func (e endless) Read(p []byte) (int, error) {
	e.done()
	return len(p), nil
}

// TestCopyEnds ends a copy in the middle of a file.
func TestCopyEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	if err := copyContent(ctx, io.Discard, endless{func() { cancel(why) }}); !errors.Is(err, why) {
		t.Error(err)
	}
}

// broken is a file that cannot be read any further.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// TestCopyPieces copies more than is copied at once, and no less.
func TestCopyPieces(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{0, pieceSize, 2*pieceSize + 1} {
		in, err := os.Create(filepath.Join(t.TempDir(), "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if err := in.Truncate(size); err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := copyContent(t.Context(), out, in); err != nil {
			t.Error(err)
		}
		if i, err := out.Stat(); err != nil || i.Size() != size {
			t.Error(i, err)
		}
	}
}

func TestCopyFails(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	if err := copyContent(t.Context(), io.Discard, broken{why}); !errors.Is(err, why) {
		t.Error(err)
	}
}
