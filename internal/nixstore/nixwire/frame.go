package nixwire

import "io"

// Frames reads the content of a framed stream: pieces behind their length, until a length of 0. A piece may be of any
// length: it is never in memory as a whole.
type Frames struct {
	r    *Reader
	left uint64
	done bool
}

// NewFrames returns the content of the framed stream that r comes to next.
func NewFrames(r *Reader) *Frames { return &Frames{r: r} }

// Piece waits for content and returns it; the error is io.EOF when the stream has ended. It is valid until the reader is
// used again, and must be discarded as far as it has been used.
func (f *Frames) Piece() ([]byte, error) {
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
