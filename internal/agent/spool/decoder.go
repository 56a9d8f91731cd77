package spool

import (
	"errors"
	"fmt"
	"io"
)

// Decoder reads records from the bytes of a spool. It treats them as hostile: it holds one record
// at a time, never more than MaxData bytes of data, and allocates nothing once it runs.
// It is not safe for concurrent use.
type Decoder struct {
	r    io.Reader
	off  int64 // of buf[pos]
	buf  []byte
	pos  int
	end  int
	over bool  // the End record has been returned
	err  error // of r
}

// decoderBuffer is the first size of the buffer: it lets a Read take what a full pipe brought.
const decoderBuffer = 64 << 10

// NewDecoder returns a decoder of r, whose first byte is at offset from.
func NewDecoder(r io.Reader, from int64) *Decoder {
	return &Decoder{r: r, off: from, buf: make([]byte, decoderBuffer)}
}

// Offset is where a new reader has to go on after the last record that Next returned.
func (d *Decoder) Offset() int64 { return d.off }

// Buffered reports whether the next call of Next returns without reading more bytes.
func (d *Decoder) Buffered() bool {
	have := d.end - d.pos
	if have < HeaderSize {
		return false
	}
	n, _, _, err := parseHeader(d.buf[d.pos:])
	return err != nil || have >= HeaderSize+n
}

// Next returns the next record; its Data is valid until the next call. After the End record it
// returns io.EOF, whatever follows. Bytes that end before the End record are io.ErrUnexpectedEOF
// (the connection was lost: go on from Offset), bytes that are no record an ErrCorrupt.
func (d *Decoder) Next() (Record, error) {
	if d.over {
		return Record{}, io.EOF
	}
	if err := d.fill(HeaderSize); err != nil {
		return Record{}, err
	}
	n, t, s, err := parseHeader(d.buf[d.pos:])
	if err != nil {
		return Record{}, fmt.Errorf("record at offset %d: %w", d.off, err)
	}
	if err := d.fill(HeaderSize + n); err != nil {
		return Record{}, err
	}
	rec := Record{Offset: d.off, Time: t, Stream: s, Data: d.buf[d.pos+HeaderSize : d.pos+HeaderSize+n : d.pos+HeaderSize+n]}
	d.pos += HeaderSize + n
	d.off += int64(HeaderSize + n)
	d.over = s == End
	return rec, nil
}

// fill makes at least want bytes available at buf[pos:end].
func (d *Decoder) fill(want int) error {
	if d.end-d.pos >= want {
		return nil
	}
	if d.pos == d.end {
		d.pos, d.end = 0, 0
	}
	if d.pos+want > len(d.buf) {
		to := d.buf
		if want > len(to) {
			to = make([]byte, HeaderSize+MaxData)
		}
		d.end = copy(to, d.buf[d.pos:d.end])
		d.buf, d.pos = to, 0
	}
	for empty := 0; d.end-d.pos < want; {
		if d.err != nil {
			if errors.Is(d.err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return d.err
		}
		n, err := d.r.Read(d.buf[d.end:])
		d.end += n
		d.err = err
		if n > 0 {
			empty = 0
		} else if empty++; empty > 100 && err == nil {
			d.err = io.ErrNoProgress
		}
	}
	return nil
}
