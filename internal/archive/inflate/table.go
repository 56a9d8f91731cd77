package inflate

import (
	"math/bits"
)

const (
	maxLit   = 288
	maxDist  = 32
	maxCode  = 15 // longest code in bits
	litBits  = 10 // codes up to this length are found in one step
	distBits = 8
)

// An entry of a table. The low byte is how many bits to take: the code and its extra bits. The next four
// bits are the length of the code alone, or the size of a sub-table in bits. The upper half is the
// literal, the base of the length or distance, or where the sub-table begins in table.more.
const (
	isLiteral = 1 << 12
	isSpecial = 1 << 13 // one of the two below, or no code
	isTable   = 1 << 14
	isEnd     = 1 << 15
)

// table decodes one Huffman code.
type table struct {
	bits uint // of root that are in use
	root [1 << litBits]uint32
	more []uint32
}

// entry finds the entry for the code at the low end of b.
func (t *table) entry(b uint64) uint32 {
	e := t.root[b&(1<<t.bits-1)]
	if e&isTable != 0 {
		e = t.more[uint64(e>>16)+b>>t.bits&(1<<(e>>8&0xf)-1)]
	}
	return e
}

// build makes the table of the code whose symbol s has lens[s] bits, and reports whether that is a code.
// A code must be complete, unless it is empty or one code of one bit; compress/flate has it so too.
func (t *table) build(lens []uint8, meaning func(symbol int) uint32) bool {
	var count, next [maxCode + 2]int
	for _, l := range lens {
		count[l]++
	}
	count[0] = 0
	longest, code := 0, 0
	for l := 1; l <= maxCode; l++ {
		if count[l] > 0 {
			longest = l
		}
		code = (code + count[l-1]) << 1
		next[l] = code
	}
	for i := range t.root[:1<<t.bits] {
		t.root[i] = isSpecial
	}
	t.more = t.more[:0]
	if longest == 0 {
		return true
	}
	if end := next[longest] + count[longest]; end != 1<<longest && (end != 1 || longest != 1) {
		return false
	}
	for l := 1; l <= min(longest, int(t.bits)); l++ {
		t.fillRoot(lens, l, next[l], count[l], meaning)
	}
	if longest > int(t.bits) {
		t.fillMore(lens, next, count, longest, meaning)
	}
	return true
}

// fillRoot enters the codes of length l.
func (t *table) fillRoot(lens []uint8, l, code, count int, meaning func(int) uint32) {
	if count == 0 {
		return
	}
	for s, sl := range lens {
		if int(sl) != l {
			continue
		}
		e := withCode(meaning(s), l)
		for i := reverse(code, l); i < 1<<t.bits; i += 1 << l {
			t.root[i] = e
		}
		code++
	}
}

// fillMore enters the codes that are longer than the root, in sub-tables by their first bits.
func (t *table) fillMore(lens []uint8, next, count [maxCode + 2]int, longest int, meaning func(int) uint32) {
	left := count
	for l := int(t.bits) + 1; l <= longest; l++ {
		for s, sl := range lens {
			if int(sl) != l {
				continue
			}
			rev := reverse(next[l], l)
			next[l]++
			at := rev & (1<<t.bits - 1)
			if t.root[at]&isTable == 0 {
				t.root[at] = t.subTable(left, l, longest)
			}
			size := int(t.root[at] >> 8 & 0xf)
			base := int(t.root[at] >> 16)
			e := withCode(meaning(s), l)
			for i := rev >> t.bits; i < 1<<size; i += 1 << (l - int(t.bits)) {
				t.more[base+i] = e
			}
			left[l]--
		}
	}
}

// subTable adds a sub-table for codes of l bits and more, as large as the codes that must follow in it.
func (t *table) subTable(left [maxCode + 2]int, l, longest int) uint32 {
	size := l - int(t.bits)
	for room := 1<<size - left[l]; room > 0 && size+int(t.bits) < longest; {
		size++
		room = room<<1 - left[size+int(t.bits)]
	}
	base := len(t.more)
	for range 1 << size {
		t.more = append(t.more, isSpecial)
	}
	return uint32(base)<<16 | isSpecial | isTable | uint32(size)<<8 | uint32(t.bits)
}

// withCode adds a code's length to a symbol's meaning.
func withCode(meaning uint32, l int) uint32 { return meaning + uint32(l)<<8 + uint32(l) }

func reverse(code, l int) int { return int(bits.Reverse16(uint16(code)) >> (16 - l)) }

// literal is the meaning of a symbol of the literal and length code (RFC 1951, 3.2.5).
func literal(s int) uint32 {
	switch {
	case s < 256:
		return isLiteral | uint32(s)<<16
	case s == 256:
		return isSpecial | isEnd
	case s < 265:
		return uint32(s-257+3) << 16
	case s < 285:
		extra := (s - 261) >> 2
		return uint32(3+(4+(s-261)&3)<<extra)<<16 | uint32(extra)
	case s == 285:
		return 258 << 16
	default:
		return isSpecial
	}
}

// distance is the meaning of a symbol of the distance code.
func distance(s int) uint32 {
	switch {
	case s < 4:
		return uint32(s+1) << 16
	case s < 30:
		extra := (s - 2) >> 1
		return uint32(1+(2+s&1)<<extra)<<16 | uint32(extra)
	default:
		return isSpecial
	}
}

// codeLength is the meaning of a symbol of the code for code lengths.
func codeLength(s int) uint32 { return isLiteral | uint32(s)<<16 }

// fixedTables makes the tables of blocks of type 1.
func fixedTables(lit, dist *table) {
	var lens [maxLit]uint8
	for s := range lens {
		switch {
		case s < 144:
			lens[s] = 8
		case s < 256:
			lens[s] = 9
		case s < 280:
			lens[s] = 7
		default:
			lens[s] = 8
		}
	}
	lit.build(lens[:], literal)
	for s := range maxDist {
		lens[s] = 5
	}
	dist.build(lens[:maxDist], distance)
}

// dynamic reads the codes of a block of type 2.
func (d *Decoder) dynamic() error {
	head, err := d.take(14)
	if err != nil {
		return err
	}
	nLit, nDist, nLen := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if nLit > 286 || nDist > 30 {
		return ErrCorrupt
	}
	var lens [19]uint8
	order := [...]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	for _, at := range order[:nLen] {
		l, err := d.take(3)
		if err != nil {
			return err
		}
		lens[at] = uint8(l)
	}
	if !d.dist.build(lens[:], codeLength) { // dist is free until it is built itself
		return ErrCorrupt
	}
	if err := d.lengths(d.lens[:nLit+nDist]); err != nil {
		return err
	}
	if !d.lit.build(d.lens[:nLit], literal) || !d.dist.build(d.lens[nLit:nLit+nDist], distance) {
		return ErrCorrupt
	}
	return nil
}

// lengths reads code lengths, which are themselves coded.
func (d *Decoder) lengths(lens []uint8) error {
	for i := 0; i < len(lens); {
		if d.n < 7+7 {
			if err := d.refill(); err != nil {
				return err
			}
		}
		e := d.dist.entry(d.bits)
		if e&isSpecial != 0 {
			return ErrCorrupt
		}
		s := d.value(e)
		repeat, l := 1, uint8(s)
		if s >= 16 {
			var err error
			if repeat, l, err = d.repeat(s, lens[:i]); err != nil {
				return err
			}
		}
		if d.over*8 > d.n || i+repeat > len(lens) {
			return ErrCorrupt
		}
		for range repeat {
			lens[i] = l
			i++
		}
	}
	return nil
}

// repeat reads how often which length is repeated.
func (d *Decoder) repeat(s int, before []uint8) (count int, l uint8, err error) {
	extra, base := uint(2), 3
	switch s {
	case 16:
		if len(before) == 0 {
			return 0, 0, ErrCorrupt
		}
		l = before[len(before)-1]
	case 17:
		extra = 3
	default:
		extra, base = 7, 11
	}
	more, err := d.take(extra)
	return base + int(more), l, err
}
