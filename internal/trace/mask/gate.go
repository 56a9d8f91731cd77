package mask

import (
	"encoding/binary"
	"slices"
)

// gate finds where a pattern may begin (Wu and Manber's way): a window as long as the shortest
// pattern moves over the text, by as much as the pair of bytes at its end allows, and stops where
// both that pair and the one at its beginning fit, and the first four bytes are those of a pattern.
type gate struct {
	window int // at most maxWindow
	first  [256]bool
	shift  []uint8 // by pairHash: how far the window may move when it ends in that pair, and begins

	heads    []uint64 // a bit for each headHash of a pattern; nil when the window is shorter than that
	headBits uint
}

const (
	maxWindow = 8
	shiftBits = 12
	begins    = 0x80 // in shift: that pair begins a pattern
	distance  = 0x0f // in shift: the bits of the distance
)

func pairHash(a, b byte) uint32 {
	v := uint32(a) | uint32(b)<<8
	return (v ^ v>>5) & (1<<shiftBits - 1)
}

// Of few patterns a small set of heads stays in the processor's nearest cache; with many it would be full.
const (
	headSize     = 4
	fewHeads     = 16
	manyHeads    = 20
	manyPatterns = 1 << 10
)

func (g *gate) headHash(p []byte) uint32 {
	return binary.LittleEndian.Uint32(p) * 0x9e3779b1 >> (32 - g.headBits)
}

func (g *gate) noteHead(p []byte) {
	h := g.headHash(p)
	g.heads[h/64] |= 1 << (h % 64)
}

func (g *gate) isHead(p []byte) bool {
	if g.heads == nil {
		return true
	}
	h := g.headHash(p)
	return g.heads[h/64]&(1<<(h%64)) != 0
}

// makeHeads notes the heads of all patterns.
func (g *gate) makeHeads(patterns, anyCase []string) {
	if g.window < headSize {
		return
	}
	g.headBits = fewHeads
	if len(patterns) > manyPatterns {
		g.headBits = manyHeads
	}
	g.heads = make([]uint64, 1<<g.headBits/64)
	for _, p := range patterns {
		g.noteHead([]byte(p[:headSize]))
	}
	for _, p := range anyCase {
		for _, a := range cases(p[0]) {
			for _, b := range cases(p[1]) {
				for _, c := range cases(p[2]) {
					for _, d := range cases(p[3]) {
						g.noteHead([]byte{a, b, c, d})
					}
				}
			}
		}
	}
}

// newGate makes a gate for patterns; those in anyCase are found in any case. There is at least one.
func newGate(patterns, anyCase []string) *gate {
	g := &gate{window: maxWindow}
	for _, p := range slices.Concat(patterns, anyCase) {
		g.window = min(g.window, len(p))
	}
	g.shift = slices.Repeat([]uint8{uint8(max(g.window-1, 1))}, 1<<shiftBits) //nolint:gosec // at most maxWindow
	for _, p := range patterns {
		g.first[p[0]] = true
		for end := 1; end < g.window; end++ {
			g.note(p[end-1], p[end], end)
		}
	}
	for _, p := range anyCase {
		for _, a := range cases(p[0]) {
			g.first[a] = true
		}
		for end := 1; end < g.window; end++ {
			for _, a := range cases(p[end-1]) {
				for _, b := range cases(p[end]) {
					g.note(a, b, end)
				}
			}
		}
	}
	g.makeHeads(patterns, anyCase)
	return g
}

// note says that the pair a, b ends at position end of a pattern.
func (g *gate) note(a, b byte, end int) {
	s := &g.shift[pairHash(a, b)]
	*s = *s&begins | min(*s&distance, uint8(g.window-1-end)) //nolint:gosec // at most maxWindow
	if end == 1 {
		*s |= begins
	}
}

func cases(b byte) []byte {
	if lower := b | 0x20; lower >= 'a' && lower <= 'z' {
		return []byte{lower, lower &^ 0x20}
	}
	return []byte{b}
}

// next returns the first position from i on at which a pattern may begin, len(p) when there is none.
func (g *gate) next(p []byte, i int) int {
	if g.window > 1 {
		j := i + g.window - 1
		shift := (*[1 << shiftBits]uint8)(g.shift)
		for j < len(p) {
			s := int(shift[pairHash(p[j-1], p[j])] & distance)
			if s == 0 {
				if at := j - g.window + 1; shift[pairHash(p[at], p[at+1])]&begins != 0 && g.isHead(p[at:]) {
					return at
				}
				s = 1
			}
			j += s
		}
		i = j - g.window + 1
	}
	for ; i < len(p); i++ {
		if g.first[p[i]] {
			return i
		}
	}
	return len(p)
}
