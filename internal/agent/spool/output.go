package spool

import (
	"errors"
	"io"
)

// readSize is how much output one record takes at most: what a pipe of the usual size holds, twice.
const readSize = 128 << 10

// Output is one stream of a spool as a writer. Its methods may be called concurrently; each Write
// and each read of ReadFrom becomes one record (more when larger than a record can be) with the
// time at which it was called or returned.
type Output struct {
	s      *Spool
	stream Stream
}

// Output returns the writer of a stream, Stdout or Stderr.
func (s *Spool) Output(stream Stream) *Output { return &Output{s: s, stream: stream} }

// Write appends p; it blocks while the spool is full and followed. It fails only after Finish.
func (o *Output) Write(p []byte) (int, error) {
	t := o.s.o.Now()
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	for written := 0; written < len(p); {
		n := min(len(p)-written, readSize)
		// Taken, not shared: writeLocked unlocks while it waits for room.
		buf := o.s.scratch
		o.s.scratch = nil
		var h [HeaderSize]byte
		buf = append(append(buf[:0], h[:]...), p[written:written+n]...)
		err := o.s.writeLocked(o.stream, buf, t)
		o.s.scratch = buf
		if err != nil {
			return written, err
		}
		written += n
	}
	return len(p), nil
}

// ReadFrom copies r to its end, in large reads.
func (o *Output) ReadFrom(r io.Reader) (total int64, err error) {
	b := o.s.buffers.Get().(*[]byte) //nolint:forcetypeassert // only these are put there
	defer o.s.buffers.Put(b)
	buf := *b
	for {
		n, err := r.Read(buf[HeaderSize:])
		if n > 0 {
			if werr := o.s.write(o.stream, buf[:HeaderSize+n], o.s.o.Now()); werr != nil {
				return total, werr
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
