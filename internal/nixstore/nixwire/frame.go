package nixwire

import (
	"encoding/binary"
	"errors"
	"io"
)

// Frames reads the content of a framed stream: pieces behind their length, until a length of 0. A piece may be of any
// length: it is never in memory as a whole.
type Frames struct {
	r    *Reader
	left uint64
	done bool
	lost error // why nobody knows any more where the next frame begins
}

// NewFrames returns the content of the framed stream that r comes to next.
func NewFrames(r *Reader) *Frames { return &Frames{r: r} }

// Piece waits for content and returns it; the error is io.EOF when the stream has ended. It is valid until the reader is
// used again, and must be discarded as far as it has been used.
func (f *Frames) Piece() ([]byte, error) {
	if f.lost != nil {
		return nil, f.lost
	}
	if f.left == 0 && !f.done {
		n, err := f.r.number()
		if err != nil {
			return nil, err
		}
		f.left, f.done = n, n == 0
	}
	if f.done {
		return nil, io.EOF
	}
	p, err := f.r.Piece(f.left)
	return p, unexpected(err)
}

// Discard forgets n bytes that Piece has returned.
func (f *Frames) Discard(n int) {
	f.r.Discard(n)
	f.left -= uint64(n) //nolint:gosec // not negative
}

// Read is Piece for an io.Reader.
func (f *Frames) Read(p []byte) (int, error) {
	b, err := f.Piece()
	n := copy(p, b)
	f.Discard(n)
	return n, err
}

// Drain reads to the end of the stream.
func (f *Frames) Drain() error {
	for {
		p, err := f.Piece()
		switch {
		case err == io.EOF: //nolint:errorlint // this very one is the end
			return nil
		case err != nil:
			return err
		}
		f.Discard(len(p))
	}
}

// Tunnel takes bytes from where those of a Reader come from to where those of a Writer go, unseen.
type Tunnel interface {
	// Take takes at most limit bytes, and waits for at least one. Where the source has ended the error is io.EOF, and where
	// there are no tunnels, before anything was taken, errors.ErrUnsupported.
	Take(limit uint64) (int, error)
	// Look reads as many of the bytes that were taken as p is long; they are not passed on.
	Look(p []byte) error
	// Give passes the next n of them on, behind that number: as a frame. It may wait for the other side.
	Give(n int) error
	// Flush has all that was given on its way.
	Flush() error
}

// Least is how much content has to follow for a tunnel to be worth it.
const least = 64 << 10

// Buffered reports whether there is something to read without waiting.
func (f *Frames) Buffered() bool { return f.r.Buffered() }

// Through passes at most limit bytes of content on through a tunnel, as frames, and returns how many have passed: until
// few are left, or the stream ends; none while something is Buffered. The writer must have been flushed. After an error other
// than errors.ErrUnsupported the rest of the stream is lost: reading it says so.
func (f *Frames) Through(t Tunnel, limit uint64) (passed uint64, err error) {
	for !f.done && !f.Buffered() && limit-passed >= least {
		taken, err := t.Take(limit - passed) // so no content is taken beyond the limit
		if err != nil {
			return passed, f.lose(unexpected(err))
		}
		n, err := f.give(t, taken)
		passed += n
		if err == nil {
			err = t.Flush()
		}
		if err != nil {
			return passed, f.lose(err)
		}
	}
	return passed, nil
}

// lose has the stream not be read any more after an error: a tunnel has a part of it.
func (f *Frames) lose(err error) error {
	if !errors.Is(err, errors.ErrUnsupported) {
		f.lost = err
	}
	return err
}

// give passes on what a tunnel has taken. What is no content but a part of a length, or behind the stream's end, is left
// to the reader.
func (f *Frames) give(t Tunnel, taken int) (passed uint64, err error) {
	for taken > 0 && err == nil {
		var head [8]byte
		switch {
		case f.left > 0:
			n := min(f.left, uint64(taken)) //nolint:gosec // positive
			err = t.Give(int(n))            //nolint:gosec // at most taken
			taken -= int(n)                 //nolint:gosec // at most taken
			passed += n
			f.left -= n
		case f.done || taken < len(head):
			rest := make([]byte, taken)
			err = t.Look(rest)
			f.r.unread(rest)
			taken = 0
		default:
			err = t.Look(head[:])
			f.left = binary.LittleEndian.Uint64(head[:])
			f.done = f.left == 0
			taken -= len(head)
		}
	}
	return passed, err
}

// FrameWriter writes a framed stream, a frame for each Write.
type FrameWriter struct{ w *Writer }

// NewFrameWriter returns a stream on w.
func NewFrameWriter(w *Writer) FrameWriter { return FrameWriter{w: w} }

// Write writes p as a frame.
func (f FrameWriter) Write(p []byte) (int, error) {
	if len(p) > 0 { // a frame of nothing is the end
		f.w.Uint64(uint64(len(p)))
		f.w.Raw(p)
	}
	return len(p), f.w.Err()
}

// End ends the stream; it flushes nothing.
func (f FrameWriter) End() { f.w.Uint64(0) }
