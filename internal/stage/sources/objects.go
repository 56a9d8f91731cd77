package sources

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// objectStore answers whether an object is in a git object directory, without starting git. It trusts
// nothing in there: a file that is not what it should be holds no objects.
type objectStore struct {
	dir   string
	size  int64 // of an object name in bytes
	packs []*os.File
}

// maxPacks bounds the pack indexes that are opened.
const maxPacks = 256

func openObjects(dir, format string) *objectStore {
	s := &objectStore{dir: dir, size: 20}
	if format == "sha256" {
		s.size = 32
	}
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
	return slices.ContainsFunc(s.packs, func(f *os.File) bool { return s.inIndex(f, id) })
}

// inIndex looks id up in a pack index of version 2: a magic number, the version, 256 counts of the
// names up to each first byte, then the names in order (gitformat-pack).
func (s *objectStore) inIndex(f *os.File, id []byte) bool {
	const table = 8
	var head [table]byte
	if _, err := f.ReadAt(head[:], 0); err != nil || !bytes.Equal(head[:], []byte{0xff, 't', 'O', 'c', 0, 0, 0, 2}) {
		return false
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
			return false
		}
		switch c := bytes.Compare(name, id); {
		case c == 0:
			return true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}
