package nixwire_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// blocked is a tunnel that has taken something and cannot pass it on.
type blocked struct{ take, give error }

func (b blocked) Take(uint64) (int, error) { return 100, b.take }
func (b blocked) Look(p []byte) error      { p[0] = 200; return nil }
func (b blocked) Give(int) error           { return b.give }
func (b blocked) Flush() error             { return nil }

// TestThroughFails loses a part of a stream in a tunnel: nobody takes what comes after it for a frame, or waits for more. Where
// there are no tunnels nothing is lost.
func TestThroughFails(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for _, c := range []struct {
		tunnel blocked
		lost   bool
	}{
		{blocked{give: lost}, true},
		{blocked{take: lost}, true},
		{blocked{take: fmt.Errorf("none here: %w", errors.ErrUnsupported)}, false},
	} {
		var stream bytes.Buffer
		w := nixwire.NewWriter(&stream, 64)
		f := nixwire.NewFrameWriter(w)
		_, _ = f.Write([]byte("content")) // to memory
		f.End()
		_ = w.Flush()
		in := nixwire.NewFrames(nixwire.NewReader(&stream, 64))
		if _, err := in.Through(c.tunnel, 1<<20); err == nil {
			t.Fatal("it passed")
		}
		if err := in.Drain(); errors.Is(err, lost) != c.lost || !c.lost && err != nil {
			t.Errorf("%+v: the rest of the stream: %v", c.tunnel, err)
		}
	}
}
