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
package spool

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
