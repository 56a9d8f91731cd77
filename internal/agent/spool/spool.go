// Package spool is the record of one stage's output: a sequence of records (time, stream, bytes)
// that the agent writes, the runner reads from any offset and acknowledges, and that survives both.
//
// # Offsets
//
// A spool is an endless byte stream of encoded records. An offset counts encoded bytes since the
// stream began, trimmed or not, so an offset means the same for ever and on both sides. Reading
// must start at the offset of a record; Record.End is the offset of the next one.
//
// # Encoding
//
// A record is a 13-byte header (uint32 length of data, int64 time in microseconds since 1970 UTC,
// uint8 stream; big endian) and its data, at most MaxData bytes. A reader treats the bytes as
// hostile: whoever owns the job can write them.
//
// # The cap
//
// What the runner has not acknowledged takes at most Options.Cap bytes, the head. Beyond it a
// writer waits while a Follower is attached (the runner reads, so room will come). With none, output
// goes to the tail: a ring of the newest Options.Tail bytes whose older records are dropped and
// counted. The tail has no offsets yet and nobody can read it. It is promoted, that is appended to
// the head behind one Dropped record with the count, when a Follower attaches and the head is within
// the cap, when an acknowledgement brings it there while one is attached, or at the end. The invariants:
//
//   - offsets are given once, at the end of the head, and never change;
//   - a Follower never reads past the head, so nothing that was dropped has been read;
//   - while a Follower is attached nothing is dropped;
//   - with D the count of a Dropped record, the output up to it, D bytes, and the output after it
//     are the output as it was written;
//   - disk use is at most Cap + 2 × Tail and a segment or two.
//
// # Files
//
// A spool is a directory: segment files of whole records, deleted when they have been acknowledged,
// and an index, replaced by rename, that orders them. What a crash of the agent (not of the machine:
// nothing is fsynced) leaves behind is complete up to the last whole record.
package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt is a spool that does not follow the encoding.
var ErrCorrupt = errors.New("spool is corrupt")

// Stream says what a record holds.
type Stream uint8

// The streams. Stdout and Stderr carry output; Dropped and End are marks.
const (
	Stdout  Stream = 1
	Stderr  Stream = 2
	Dropped Stream = 3 // data is a uint64, big endian: so many bytes of output were dropped here
	End     Stream = 4 // the stage wrote nothing after this; no data, always the last record
)

// HeaderSize is the size of a record's header in bytes.
const HeaderSize = 13

// MaxData is the largest size of a record's data in bytes; a larger one is an encoding error.
const MaxData = 256 << 10

// Record is one piece of output. Data belongs to the reader until the next call.
type Record struct {
	Offset int64 // of the record's first header byte
	Time   int64 // microseconds since 1970-01-01 UTC, by the agent's clock
	Stream Stream
	Data   []byte
}

// End is the offset of the record that follows r.
func (r Record) End() int64 { return r.Offset + HeaderSize + int64(len(r.Data)) }

// Append appends the encoding of a record to dst. Data must not be longer than MaxData.
func Append(dst []byte, t int64, s Stream, data []byte) []byte {
	var h [HeaderSize]byte
	putHeader(h[:], t, s, len(data))
	return append(append(dst, h[:]...), data...)
}

func putHeader(b []byte, t int64, s Stream, n int) {
	binary.BigEndian.PutUint32(b, uint32(n))     //nolint:gosec // n is at most MaxData
	binary.BigEndian.PutUint64(b[4:], uint64(t)) //nolint:gosec // two's complement on both sides
	b[12] = byte(s)
}

// parseHeader reads a header and checks what can be checked without the data.
func parseHeader(b []byte) (n int, t int64, s Stream, err error) {
	size := binary.BigEndian.Uint32(b)
	t = int64(binary.BigEndian.Uint64(b[4:])) //nolint:gosec // two's complement on both sides
	s = Stream(b[12])
	switch {
	case size > MaxData:
		return 0, 0, 0, fmt.Errorf("%w: a record of %d bytes, at most %d are allowed", ErrCorrupt, size, MaxData)
	case s < Stdout || s > End:
		return 0, 0, 0, fmt.Errorf("%w: unknown stream %d", ErrCorrupt, s)
	case s == Dropped && size != 8, s == End && size != 0:
		return 0, 0, 0, fmt.Errorf("%w: a mark of stream %d with %d bytes", ErrCorrupt, s, size)
	}
	return int(size), t, s, nil
}
