// Package inflate decompresses DEFLATE (RFC 1951) faster than a general reader can: it decodes from one
// flat buffer into another, and hands out large pieces instead of being asked for small ones.
//
// Input is foreign bytes: every defect of it is an error, never a panic, and what is written is
// bounded by what emit accepts.
package inflate

import (
	"errors"
	"io"
)

// ErrCorrupt is returned for input that is not DEFLATE. Input that ends too early is io.ErrUnexpectedEOF.
var ErrCorrupt = errors.New("inflate: corrupt input")

const (
	window = 32 << 10 // how far back a match may reach
	inSize = 128 << 10
	slack  = 300 // a match (258) and the over-long copies of it
)

// Decoder decompresses one stream after the other. It belongs to one goroutine.
type Decoder struct {
	r    io.Reader
	own  []byte // buffer for r
	in   []byte // input at hand: in[ip:]
	ip   int
	eof  bool // nothing follows in
	bits uint64
	n    uint // how many of bits are valid
	over uint // bytes beyond the end of the input that are in bits, zeros

	out   []byte
	op    int
	start int // out[start:op] has not been emitted
	emit  func([]byte) error

	lit, dist           table
	fixedLit, fixedDist table
	lens                [maxLit + maxDist]uint8
}

// New returns a decoder that hands out pieces of chunk bytes; only the last one of a stream is shorter. It
// holds the chunk and about 200 KiB beside it.
func New(chunk int) *Decoder {
	d := &Decoder{out: make([]byte, window+chunk+slack)}
	d.lit.bits, d.dist.bits, d.fixedLit.bits, d.fixedDist.bits = litBits, distBits, 9, 5
	fixedTables(&d.fixedLit, &d.fixedDist)
	return d
}

// Bytes decompresses src. The slices that emit gets are good until it returns or, the last one, until
// the decoder's next use. An error of emit ends the work and is returned.
func (d *Decoder) Bytes(src []byte, emit func([]byte) error) error {
	d.r, d.in, d.eof = nil, src, true
	return d.run(emit)
}

// Reader decompresses what r holds, and may read more of r than the stream is long.
func (d *Decoder) Reader(r io.Reader, emit func([]byte) error) error {
	if d.own == nil {
		d.own = make([]byte, inSize)
	}
	d.r, d.in, d.eof = r, d.own[:0], false
	return d.run(emit)
}

func (d *Decoder) run(emit func([]byte) error) error {
	d.ip, d.bits, d.n, d.over, d.op, d.start, d.emit = 0, 0, 0, 0, 0, 0, emit
	for {
		final, err := d.block()
		if err != nil {
			return err
		}
		if final {
			return d.flush()
		}
	}
}

// block decodes one block.
func (d *Decoder) block() (final bool, err error) {
	head, err := d.take(3)
	if err != nil {
		return false, err
	}
	final = head&1 == 1
	switch head >> 1 {
	case 0:
		return final, d.stored()
	case 1:
		return final, d.symbols(&d.fixedLit, &d.fixedDist)
	case 2:
		if err := d.dynamic(); err != nil {
			return final, err
		}
		return final, d.symbols(&d.lit, &d.dist)
	default:
		return final, ErrCorrupt
	}
}

// fill reads more input.
func (d *Decoder) fill() error {
	if d.eof {
		return nil
	}
	keep := min(d.ip, 8) // bytes that were read ahead may have to be given back
	rest := copy(d.own, d.in[d.ip-keep:])
	d.ip = keep
	n, err := io.ReadAtLeast(d.r, d.own[rest:], 1)
	d.in = d.own[:rest+n]
	if err == io.EOF {
		d.eof = true
		return nil
	}
	return err
}

// more makes at least 16 bytes of input available, or all that there are.
func (d *Decoder) more() error {
	for len(d.in)-d.ip < 16 && !d.eof {
		if err := d.fill(); err != nil {
			return err
		}
	}
	return nil
}

// refill makes at least 56 bits valid; beyond the end of the input they are zeros.
func (d *Decoder) refill() error {
	if err := d.more(); err != nil {
		return err
	}
	for d.n < 56 {
		if d.ip < len(d.in) {
			d.bits |= uint64(d.in[d.ip]) << d.n
			d.ip++
		} else {
			d.over++
		}
		d.n += 8
	}
	if d.over > 8 { // eight bytes may be read ahead, more were used
		return io.ErrUnexpectedEOF
	}
	return nil
}

// take takes up to 32 bits.
func (d *Decoder) take(n uint) (uint64, error) {
	if d.n < n {
		if err := d.refill(); err != nil {
			return 0, err
		}
	}
	v := d.bits & (1<<n - 1)
	d.bits >>= n
	d.n -= n
	if d.over*8 > d.n {
		return 0, io.ErrUnexpectedEOF
	}
	return v, nil
}

// flush emits what has been decoded.
func (d *Decoder) flush() error {
	if d.op == d.start {
		return nil
	}
	b := d.out[d.start:d.op]
	d.start = d.op
	return d.emit(b)
}

// room makes room for a match, keeping the window.
func (d *Decoder) room() error {
	if d.op < len(d.out)-slack {
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	keep := min(d.op, window)
	copy(d.out, d.out[d.op-keep:d.op])
	d.op, d.start = keep, keep
	return nil
}

// stored copies a block that is not compressed.
func (d *Decoder) stored() error {
	d.bits >>= d.n & 7
	d.n &^= 7
	head, err := d.take(32)
	if err != nil {
		return err
	}
	left := int(head & 0xffff)
	if left != int(^head>>16&0xffff) {
		return ErrCorrupt
	}
	d.ip -= int(d.n/8 - d.over) // whole bytes that were read ahead; take has seen to n/8 >= over
	d.bits, d.n, d.over = 0, 0, 0
	for left > 0 {
		if err := d.room(); err != nil {
			return err
		}
		if d.ip == len(d.in) {
			if d.eof {
				return io.ErrUnexpectedEOF
			}
			if err := d.fill(); err != nil {
				return err
			}
			continue
		}
		n := copy(d.out[d.op:len(d.out)-slack], d.in[d.ip:min(len(d.in), d.ip+left)])
		d.op += n
		d.ip += n
		left -= n
	}
	return nil
}

// symbols decodes a block's literals and matches.
func (d *Decoder) symbols(lit, dist *table) error {
	for {
		if err := d.room(); err != nil {
			return err
		}
		if err := d.more(); err != nil {
			return err
		}
		done, err := d.fast(lit, dist)
		if done || err != nil {
			return err
		}
		if done, err = d.slow(lit, dist); done || err != nil {
			return err
		}
	}
}

// slow decodes one symbol, however close the end of the input is.
func (d *Decoder) slow(lit, dist *table) (done bool, err error) {
	if err := d.room(); err != nil {
		return false, err
	}
	if err := d.refill(); err != nil {
		return false, err
	}
	e := lit.entry(d.bits)
	value := d.value(e)
	switch {
	case e&isLiteral != 0:
		d.out[d.op] = byte(value)
		d.op++
	case e&isSpecial != 0:
		if e&isEnd == 0 {
			return false, ErrCorrupt
		}
		done = true
	default:
		f := dist.entry(d.bits)
		if f&isSpecial != 0 {
			return false, ErrCorrupt
		}
		back := d.value(f)
		if back > d.op {
			return false, ErrCorrupt
		}
		for range value {
			d.out[d.op] = d.out[d.op-back]
			d.op++
		}
	}
	if d.over*8 > d.n {
		return false, io.ErrUnexpectedEOF
	}
	return done, nil
}

// value takes the bits of an entry and returns what it stands for, extra bits added.
func (d *Decoder) value(e uint32) int {
	used := uint(e & 0xff)
	v := int(e>>16) + int(d.bits&(1<<used-1)>>(e>>8&0xf))
	d.bits >>= used
	d.n -= used
	return v
}
