package sources

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// objectStore answers whether an object is in a git object directory, without starting git. It trusts
// nothing in there: a file that is not what it should be holds no objects.
type objectStore struct {
	dir    string
	format string
	size   int64 // of an object name in bytes
	packs  []*os.File
}

// maxPacks bounds the pack indexes that are opened.
const maxPacks = 256

func openObjects(dir, format string) *objectStore {
	s := &objectStore{dir: dir, format: format, size: int64(hashSize(format))}
	entries, _ := os.ReadDir(filepath.Join(dir, "pack"))
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".idx" || !e.Type().IsRegular() || len(s.packs) == maxPacks {
			continue
		}
		path := filepath.Join(dir, "pack", e.Name())
		if st, err := os.Lstat(strings.TrimSuffix(path, ".idx") + ".pack"); err != nil || !st.Mode().IsRegular() {
			continue
		}
		if f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0); err == nil {
			s.packs = append(s.packs, f)
		}
	}
	return s
}

func (s *objectStore) close() {
	for _, f := range s.packs {
		_ = f.Close()
	}
}

// has reports whether the object with the hexadecimal name is there.
func (s *objectStore) has(name string) bool {
	id, err := hex.DecodeString(name)
	if err != nil || int64(len(id)) != s.size {
		return false
	}
	if st, err := os.Lstat(filepath.Join(s.dir, name[:2], name[2:])); err == nil && st.Mode().IsRegular() {
		return true
	}
	return slices.ContainsFunc(s.packs, func(f *os.File) bool {
		_, ok := s.offset(f, id)
		return ok
	})
}

// commit is the content of a commit with the hexadecimal name, proven by its hash. It finds none where only git
// can read it: as the difference to another object.
func (s *objectStore) commit(name string) ([]byte, bool) {
	id, err := hex.DecodeString(name)
	if err != nil || int64(len(id)) != s.size {
		return nil, false
	}
	proven := func(content []byte, ok bool) bool {
		return ok && objectID(s.format, "commit", content) == string(id)
	}
	if content, ok := s.looseCommit(name); proven(content, ok) {
		return content, true
	}
	for _, f := range s.packs {
		at, ok := s.offset(f, id)
		if !ok {
			continue
		}
		if content, ok := packedCommit(strings.TrimSuffix(f.Name(), ".idx")+".pack", at); proven(content, ok) {
			return content, true
		}
	}
	return nil, false
}

// maxCommit bounds the commits that are read; they are rarely longer than some kilobytes.
const maxCommit = 1 << 20

func (s *objectStore) looseCommit(name string) ([]byte, bool) {
	text, err := readPlain(filepath.Join(s.dir, name[:2], name[2:]), maxCommit)
	if err != nil {
		return nil, false
	}
	content, ok := inflate(strings.NewReader(text))
	_, content, cut := bytes.Cut(content, []byte{0})
	return content, ok && cut
}

// packedCommit reads the object at an offset of a pack when it is a commit in full: a byte whose bits 4 to 6
// are 1, more bytes of the size as long as the top bit is set, and the content (gitformat-pack).
func packedCommit(path string, offset int64) ([]byte, bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	r := bufio.NewReaderSize(io.NewSectionReader(f, offset, maxCommit), 1024)
	c, err := r.ReadByte()
	if err != nil || c>>4&7 != 1 {
		return nil, false
	}
	for c&0x80 != 0 {
		if c, err = r.ReadByte(); err != nil {
			return nil, false
		}
	}
	return inflate(r)
}

func inflate(r io.Reader) ([]byte, bool) {
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, false
	}
	b, err := io.ReadAll(io.LimitReader(z, maxCommit))
	return b, err == nil
}

// offset looks id up in a pack index of version 2: a magic number, the version, 256 counts of the
// names up to each first byte, the names in order, a checksum for each, and offsets in the pack (gitformat-pack).
// Packs of more than 2 GiB have longer offsets elsewhere; they are not found.
func (s *objectStore) offset(f *os.File, id []byte) (at int64, found bool) {
	const table = 8
	var head [table]byte
	if _, err := f.ReadAt(head[:], 0); err != nil || !bytes.Equal(head[:], []byte{0xff, 't', 'O', 'c', 0, 0, 0, 2}) {
		return 0, false
	}
	count := func(first int) int64 {
		if first < 0 {
			return 0
		}
		var n [4]byte
		if _, err := f.ReadAt(n[:], table+int64(first)*4); err != nil {
			return 0
		}
		return int64(binary.BigEndian.Uint32(n[:]))
	}
	lo, hi := count(int(id[0])-1), count(int(id[0]))
	name := make([]byte, s.size)
	for lo < hi {
		mid := (lo + hi) / 2
		if _, err := f.ReadAt(name, table+256*4+mid*s.size); err != nil {
			return 0, false
		}
		switch c := bytes.Compare(name, id); {
		case c == 0:
			var off [4]byte
			_, _ = f.ReadAt(off[:], table+256*4+count(255)*(s.size+4)+mid*4)
			return int64(binary.BigEndian.Uint32(off[:])), true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}
