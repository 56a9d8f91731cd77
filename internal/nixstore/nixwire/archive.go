package nixwire

import (
	"encoding/binary"
	"strings"
)

// Archive finds the end of a NAR, Nix's archive format, in a stream that passes by, and checks it on its way: order and
// names of entries, depth, lengths.
type Archive struct {
	state state
	have  []byte   // the beginning of a string that has not come whole
	skip  uint64   // contents that are still to come, with their padding
	names []string // the last entry's name in each directory that is open
	size  uint64
}

// state is what is expected next.
type state uint8

const (
	atMagic state = iota
	atOpen
	atType
	atTypeValue
	atRegular
	atExecutableValue
	atContentsTag
	atContents
	atClose
	atTarget
	atTargetValue
	atEntry
	atEntryOpen
	atNameTag
	atName
	atNode
	atEntryClose
	atEnd
)

// Bounds of an archive. Nix's own are 255, 4095 and, since 2.35, a depth of 64.
const (
	maxTag    = 16
	maxEntry  = 255
	maxTarget = 4095
	maxDepth  = 256
)

// Done reports whether the archive's end has come.
func (a *Archive) Done() bool { return a.state == atEnd }

// Size is how many bytes of the archive have come.
func (a *Archive) Size() uint64 { return a.size }

// Ahead is how many bytes follow that need not be seen: what is in a file.
func (a *Archive) Ahead() uint64 { return a.skip }

// Skip takes the next n bytes, at most as many as are Ahead, without seeing them.
func (a *Archive) Skip(n uint64) {
	if n == 0 {
		return
	}
	a.size += n
	if a.skip -= n; a.skip == 0 {
		a.state = atClose
	}
}

// Scan takes the next bytes and returns how many of them belong to the archive: all until its end.
func (a *Archive) Scan(p []byte) (used int, err error) {
	for used < len(p) && !a.Done() {
		n, err := a.step(p[used:])
		used += n
		a.size += uint64(n) //nolint:gosec // not negative
		if err != nil {
			return used, err
		}
	}
	return used, nil
}

// step takes some bytes of p, at least one.
func (a *Archive) step(p []byte) (int, error) {
	if a.skip > 0 {
		n := min(a.skip, uint64(len(p)))
		if a.skip -= n; a.skip == 0 {
			a.state = atClose
		}
		return int(n), nil //nolint:gosec // at most len(p)
	}
	if len(a.have) == 0 { // the usual case: the whole string is there
		if size, err := a.need(p); err != nil {
			return 0, err
		} else if size > 0 && len(p) >= size {
			return size, a.take(p[:size])
		}
	}
	want := 8
	if size, err := a.need(a.have); err != nil {
		return 0, err
	} else if size > 0 {
		want = size
	}
	n := min(want-len(a.have), len(p))
	a.have = append(a.have, p[:n]...)
	size, err := a.need(a.have)
	if err != nil || size == 0 || len(a.have) < size {
		return n, err
	}
	err = a.take(a.have)
	a.have = a.have[:0]
	return n, err
}

// need is how long the string is that b begins with, with its length and padding; 0 where that is not known yet. Of
// contents only the length counts.
func (a *Archive) need(b []byte) (int, error) {
	if len(b) < 8 {
		return 0, nil
	}
	if a.state == atContents {
		return 8, nil
	}
	n := binary.LittleEndian.Uint64(b)
	if limit := a.limit(); n > uint64(limit) { //nolint:gosec // positive
		return 0, malformed("an archive with a string of %d bytes, where at most %d are allowed", n, limit)
	}
	return 8 + int(n+7)&^7, nil //nolint:gosec // bounded
}

func (a *Archive) limit() int {
	switch a.state { //nolint:exhaustive // the others are words of the format
	case atName:
		return maxEntry
	case atTargetValue:
		return maxTarget
	default:
		return maxTag
	}
}

// take takes a whole string, with its length and padding.
func (a *Archive) take(b []byte) error {
	n := binary.LittleEndian.Uint64(b)
	if a.state == atContents {
		a.skip, a.state = n, atClose
		if n > 1<<62 {
			return malformed("an archive with a file of %d bytes", n)
		}
		a.skip += (8 - n%8) % 8
		return nil
	}
	for _, c := range b[8+n:] {
		if c != 0 {
			return malformed("an archive with padding that is not zero")
		}
	}
	return a.word(string(b[8 : 8+n]))
}

// word goes on to the next state.
func (a *Archive) word(s string) error {
	switch a.state {
	case atMagic:
		return a.expect(s, "nix-archive-1", atOpen)
	case atOpen:
		return a.expect(s, "(", atType)
	case atType:
		return a.expect(s, "type", atTypeValue)
	case atTypeValue:
		return a.choose(s, map[string]state{"regular": atRegular, "directory": atEntry, "symlink": atTarget})
	case atRegular:
		return a.choose(s, map[string]state{"executable": atExecutableValue, "contents": atContents})
	case atExecutableValue:
		return a.expect(s, "", atContentsTag)
	case atContentsTag:
		return a.expect(s, "contents", atContents)
	case atClose:
		return a.close(s)
	case atTarget:
		return a.expect(s, "target", atTargetValue)
	case atTargetValue:
		if s == "" || strings.ContainsRune(s, 0) {
			return malformed("an archive with a bad symbolic link")
		}
		a.state = atClose
	case atEntry:
		if s == ")" {
			a.names = a.names[:len(a.names)-1]
			return a.close(s)
		}
		return a.expect(s, "entry", atEntryOpen)
	case atEntryOpen:
		return a.expect(s, "(", atNameTag)
	case atNameTag:
		return a.expect(s, "name", atName)
	case atName:
		return a.name(s)
	case atNode:
		return a.expect(s, "node", atOpen)
	case atEntryClose:
		return a.expect(s, ")", atEntry)
	case atContents, atEnd:
	}
	return nil
}

func (a *Archive) expect(s, word string, next state) error {
	if s != word {
		return malformed("an archive with %q where %q is expected", short(s), word)
	}
	a.state = next
	return nil
}

func (a *Archive) choose(s string, next map[string]state) error {
	to, ok := next[s]
	if !ok {
		return malformed("an archive with %q where a file's type or contents are expected", short(s))
	}
	a.state = to
	if s == "directory" {
		if a.names = append(a.names, ""); len(a.names) > maxDepth {
			return malformed("an archive with directories deeper than %d", maxDepth)
		}
	}
	return nil
}

func (a *Archive) close(s string) error {
	next := atEnd
	if len(a.names) > 0 {
		next = atEntryClose
	}
	return a.expect(s, ")", next)
}

func (a *Archive) name(s string) error {
	last := &a.names[len(a.names)-1]
	switch {
	case s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\x00"):
		return malformed("an archive with an entry named %q", short(s))
	case s <= *last:
		return malformed("an archive whose entries are not in order: %q after %q", short(s), short(*last))
	}
	*last, a.state = s, atNode
	return nil
}
