package sources

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path"
	"slices"
	"strings"
)

// indexEntry is a file of git's index.
type indexEntry struct {
	mode uint32
	id   string // the object's name in binary
	name string // relative to the work tree
}

// The modes of an index; git knows no others (read-cache.c, create_ce_mode).
const (
	modeLink    = 0o120000
	modeGitlink = 0o160000
	modeTree    = 0o040000
)

var errIndex = errors.New("the index is not what git writes for a whole commit")

// readIndex reads the index of a git directory that git has just written, in git's order. One that is
// not of one whole commit (merges, sparse or split indexes) is an error. Format: gitformat-index.
func readIndex(gitDir, format string) ([]indexEntry, error) {
	b, err := os.ReadFile(path.Join(gitDir, "index"))
	if err != nil {
		return nil, err
	}
	return parseIndex(b, hashSize(format))
}

func parseIndex(b []byte, size int) ([]indexEntry, error) {
	if len(b) < 12+size || string(b[:4]) != "DIRC" {
		return nil, errIndex
	}
	version, n := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	if version < 2 || version > 4 || int64(n) > int64(len(b)) {
		return nil, errIndex
	}
	p := indexParser{rest: b[12 : len(b)-size], size: size, version: version}
	list := make([]indexEntry, 0, n)
	for range n {
		e, err := p.entry()
		if err != nil {
			return nil, err
		}
		if len(list) > 0 && list[len(list)-1].name >= e.name {
			return nil, errIndex
		}
		list = append(list, e)
	}
	return list, p.extensions()
}

type indexParser struct {
	rest    []byte
	size    int
	version uint32
	last    string
}

// statSize is what an entry holds of a file before the object's name.
const statSize = 40

func (p *indexParser) entry() (indexEntry, error) {
	fixed := statSize + p.size + 2
	if len(p.rest) < fixed {
		return indexEntry{}, errIndex
	}
	e := indexEntry{mode: binary.BigEndian.Uint32(p.rest[24:]), id: string(p.rest[statSize : statSize+p.size])}
	flags := binary.BigEndian.Uint16(p.rest[fixed-2:])
	if flags&0x3000 != 0 { // a stage of a merge
		return e, errIndex
	}
	if flags&0x4000 != 0 {
		fixed += 2
	}
	if len(p.rest) < fixed {
		return e, errIndex
	}
	text := p.rest[fixed:]
	keep, used := 0, 0
	if p.version == 4 {
		strip, n := varint(text)
		if n == 0 || strip > uint64(len(p.last)) {
			return e, errIndex
		}
		keep, used, text = len(p.last)-int(strip), n, text[n:]
	}
	end := bytes.IndexByte(text, 0)
	if end < 0 {
		return e, errIndex
	}
	e.name = p.last[:keep] + string(text[:end])
	used += end + 1
	if p.version != 4 {
		used = (fixed+end+8)&^7 - fixed // NULs up to a multiple of eight
	}
	if len(p.rest) < fixed+used {
		return e, errIndex
	}
	p.rest, p.last = p.rest[fixed+used:], e.name
	return e, nil
}

// varint is the number at the beginning of b, and its length; 0 when there is none.
// Source: git's varint.c.
func varint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i > 0 {
			v++
		}
		if i == 9 {
			return 0, 0
		}
		v = v<<7 | uint64(c&0x7f)
		if c&0x80 == 0 {
			return v, i + 1
		}
	}
	return 0, 0
}

// extensions looks for those that say the entries are not all: their names begin with a small letter.
func (p *indexParser) extensions() error {
	for len(p.rest) >= 8 {
		n := int64(binary.BigEndian.Uint32(p.rest[4:]))
		if p.rest[0] < 'A' || p.rest[0] > 'Z' || n > int64(len(p.rest)-8) {
			return errIndex
		}
		p.rest = p.rest[8+n:]
	}
	return nil
}

// treeID is the name of the tree that the entries make.
func treeID(list []indexEntry, format string) string {
	id, _ := subtree(list, "", format)
	return id
}

// subtree makes the tree of the entries at the beginning of list whose names begin with prefix.
// Full names in the index's order are the trees' order, too.
func subtree(list []indexEntry, prefix, format string) (id string, rest []indexEntry) {
	var b bytes.Buffer
	for len(list) > 0 && strings.HasPrefix(list[0].name, prefix) {
		e := list[0]
		name, _, isDir := strings.Cut(e.name[len(prefix):], "/")
		if isDir {
			e.id, list = subtree(list, prefix+name+"/", format)
			e.mode = modeTree
		} else {
			list = list[1:]
		}
		writeOctal(&b, e.mode)
		b.WriteString(" " + name + "\x00" + e.id)
	}
	return objectID(format, "tree", b.Bytes()), list
}

func writeOctal(b *bytes.Buffer, mode uint32) {
	for shift := 15; shift >= 0; shift -= 3 {
		if mode>>shift != 0 {
			b.WriteByte('0' + byte(mode>>shift&7))
		}
	}
}

// onlyTracked reports whether a work tree holds nothing but the entries, so that git clean would
// find nothing to do. It stops at the first other thing.
func onlyTracked(dir string, list []indexEntry) bool {
	tracked := make(map[string]bool, len(list)) // whether to look into it
	for _, e := range list {
		tracked[e.name] = false
		for d := path.Dir(e.name); d != "." && !tracked[d]; d = path.Dir(d) {
			tracked[d] = true
		}
	}
	tracked[".git"] = false
	return tidy(dir, "", tracked)
}

func tidy(dir, name string, tracked map[string]bool) bool {
	f, err := os.Open(path.Join(dir, name))
	if err != nil {
		return false
	}
	entries, err := f.ReadDir(-1)
	if errors.Join(err, f.Close()) != nil {
		return false
	}
	return !slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		child := path.Join(name, e.Name())
		look, ok := tracked[child]
		return !ok || look && (!e.IsDir() || !tidy(dir, child, tracked))
	})
}
