package nixwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MalformedError is input that the protocol does not allow, or that is beyond what is accepted of it.
type MalformedError struct{ What string }

func (e *MalformedError) Error() string { return "malformed message: " + e.What }

func malformed(format string, args ...any) error {
	return &MalformedError{What: fmt.Sprintf(format, args...)}
}

// Reader reads numbers and strings. It has a buffer and asks its source only when that is empty. It is for one
// goroutine at a time.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int
	wait func() error
}

// NewReader returns a reader with a buffer of size bytes, at least 64.
func NewReader(src io.Reader, size int) *Reader {
	return &Reader{src: src, buf: make([]byte, max(size, 64))}
}

// OnWait has f called before the source is asked for more, which may take long: to flush what the other side of a
// relay waits for. A source with a method ReadNow is first asked for what it has without waiting; it returns 0 for nothing.
func (r *Reader) OnWait(f func() error) { r.wait = f }

// Buffered reports whether there is something to read without asking the source.
func (r *Reader) Buffered() bool { return r.r < r.w }

// Fill asks the source for more; the buffer must not be full. At the source's end the error is io.EOF.
func (r *Reader) fill() error {
	if r.r == r.w {
		r.r, r.w = 0, 0
	} else if r.r > 0 && r.w == len(r.buf) {
		r.r, r.w = 0, copy(r.buf, r.buf[r.r:r.w])
	}
	if r.wait != nil {
		if now, ok := r.src.(interface{ ReadNow(p []byte) int }); ok {
			if n := now.ReadNow(r.buf[r.w:]); n > 0 {
				r.w += n
				return nil
			}
		}
		if err := r.wait(); err != nil {
			return err
		}
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		switch {
		case n > 0:
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// Piece returns what is in the buffer, after waiting for at least one byte: at most limit bytes. It is valid until the
// reader is used again; what has been used of it must be discarded.
func (r *Reader) Piece(limit uint64) ([]byte, error) {
	if r.r == r.w {
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	return r.buf[r.r:][:min(uint64(r.w-r.r), limit)], nil
}

// Discard forgets n bytes that Piece has returned.
func (r *Reader) Discard(n int) { r.r += n }

// unread has p be read next; the buffer must be empty.
func (r *Reader) unread(p []byte) {
	if len(p) > len(r.buf) {
		r.buf = make([]byte, len(p))
	}
	r.r, r.w = 0, copy(r.buf, p)
}

// Uint64 reads a number. Where not one byte has come the error is io.EOF.
func (r *Reader) Uint64() (uint64, error) {
	for r.w-r.r < 8 {
		if err := r.fill(); err != nil {
			if r.w > r.r && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	n := binary.LittleEndian.Uint64(r.buf[r.r:])
	r.r += 8
	return n, nil
}

// number is Uint64 where a message has begun: its end is not expected.
func (r *Reader) number() (uint64, error) {
	n, err := r.Uint64()
	return n, unexpected(err)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// String reads a string of at most limit bytes.
func (r *Reader) String(limit int) (string, error) {
	n, err := r.number()
	if err != nil {
		return "", err
	}
	if n > uint64(limit) { //nolint:gosec // a limit is not negative
		return "", malformed("a string of %d bytes, where at most %d are allowed", n, limit)
	}
	size := int(n) //nolint:gosec // bounded
	var s string
	if r.w-r.r >= size {
		s = string(r.buf[r.r : r.r+size])
		r.r += size
	} else {
		b, err := r.gather(size)
		if err != nil {
			return "", err
		}
		s = string(b)
	}
	return s, r.padding(n)
}

// gather reads size bytes, and takes memory only for what has come.
func (r *Reader) gather(size int) ([]byte, error) {
	b := make([]byte, 0, min(size, 64<<10))
	for len(b) < size {
		p, err := r.Piece(uint64(size - len(b))) //nolint:gosec // positive
		if err != nil {
			return nil, unexpected(err)
		}
		b = append(b, p...)
		r.Discard(len(p))
	}
	return b, nil
}

// Truncated reads a string of any length and keeps the first limit bytes of it.
func (r *Reader) Truncated(limit int) (string, error) {
	n, err := r.number()
	if err != nil {
		return "", err
	}
	keep := min(n, uint64(limit)) //nolint:gosec // a limit is not negative
	b, err := r.gather(int(keep)) //nolint:gosec // bounded
	if err != nil {
		return "", err
	}
	for left := n - keep; left > 0; {
		p, err := r.Piece(left)
		if err != nil {
			return "", unexpected(err)
		}
		left -= uint64(len(p))
		r.Discard(len(p))
	}
	return string(b), r.padding(n)
}

func (r *Reader) padding(n uint64) error {
	for range (8 - n%8) % 8 {
		p, err := r.Piece(1)
		if err != nil {
			return unexpected(err)
		}
		if p[0] != 0 {
			return malformed("padding that is not zero")
		}
		r.Discard(1)
	}
	return nil
}

// Writer writes numbers and strings into a buffer. The first error stays; Flush and Err return it. It is for one
// goroutine at a time.
type Writer struct {
	dst io.Writer
	buf []byte
	err error
}

// NewWriter returns a writer with a buffer of size bytes.
func NewWriter(dst io.Writer, size int) *Writer {
	return &Writer{dst: dst, buf: make([]byte, 0, max(size, 64))}
}

// Err is the first error.
func (w *Writer) Err() error { return w.err }

// Flush writes the buffer out.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.dst.Write(w.buf)
		w.buf = w.buf[:0]
	}
	return w.err
}

// Raw writes bytes as they are.
func (w *Writer) Raw(p []byte) {
	if len(p) > cap(w.buf)-len(w.buf) {
		_ = w.Flush() // kept
	}
	switch {
	case w.err != nil:
	case len(p) > cap(w.buf):
		_, w.err = w.dst.Write(p)
	default:
		w.buf = append(w.buf, p...)
	}
}

// Uint64 writes a number.
func (w *Writer) Uint64(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	w.Raw(b[:])
}

// Bool writes a truth value.
func (w *Writer) Bool(b bool) {
	var n uint64
	if b {
		n = 1
	}
	w.Uint64(n)
}

// String writes a string.
func (w *Writer) String(s string) {
	w.Uint64(uint64(len(s)))
	if room := cap(w.buf) - len(w.buf); len(s) <= room {
		w.buf = append(w.buf, s...)
	} else {
		w.Raw([]byte(s))
	}
	var zero [8]byte
	w.Raw(zero[:(8-len(s)%8)%8])
}
