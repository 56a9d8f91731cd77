package ziprecord_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/ziprecord"
)

func entry(name string) ziprecord.Entry {
	st := unix.Stat_t{Mode: unix.S_IFREG | 0o640, Uid: 7, Gid: 8, Mtim: unix.Timespec{Sec: 1_700_000_001}}
	return ziprecord.New(name, &st)
}

func TestManyEntries(t *testing.T) {
	t.Parallel()
	const many = 70_000 // more than the end record can count
	var b, central []byte
	for i := range many {
		e := entry(fmt.Sprint(i))
		e.Offset = int64(len(b))
		b = e.AppendLocal(b)
		central = e.AppendCentral(central)
	}
	start := int64(len(b))
	b = append(b, central...)
	b = ziprecord.AppendEnd(b, many, start, int64(len(central)))
	zr, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if len(zr.File) != many || zr.File[many-1].Name != fmt.Sprint(many-1) {
		t.Errorf("%d entries", len(zr.File))
	}
	f := zr.File[12345]
	if f.Mode() != 0o640 || !f.Modified.Equal(time.Unix(1_700_000_001, 0)) {
		t.Errorf("mode %v, time %v", f.Mode(), f.Modified)
	}
}

// sparse is a file of zeros with pieces in it.
type sparse struct {
	pieces map[int64][]byte
	size   int64
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at, b := range s.pieces {
		for i := range b {
			if j := at + int64(i) - off; j >= 0 && j < int64(len(p)) {
				p[j] = b[i]
			}
		}
	}
	if off+int64(len(p)) > s.size {
		return int(s.size - off), io.EOF
	}
	return len(p), nil
}

func TestBeyond4GiB(t *testing.T) {
	t.Parallel()
	const far, huge = 5 << 30, 6 << 30
	content := []byte("content")
	small := entry("far")
	small.Offset, small.CSize, small.USize = far, int64(len(content)), int64(len(content))
	small.CRC = crc32.ChecksumIEEE(content)
	large := entry("huge")
	large.Wide, large.Flags, large.CSize, large.USize = true, large.Flags|ziprecord.FlagDescriptor, huge, huge+1
	start := int64(12 << 30)
	central := small.AppendCentral(large.AppendCentral(nil))
	end := ziprecord.AppendEnd(central, 2, start, int64(len(central)))
	file := &sparse{size: start + int64(len(end)), pieces: map[int64][]byte{
		0: large.AppendLocal(nil), far: append(small.AppendLocal(nil), content...), start: end,
	}}
	zr, err := zip.NewReader(file, file.size)
	if err != nil {
		t.Fatal(err)
	}
	if f := zr.File[0]; f.CompressedSize64 != huge || f.UncompressedSize64 != huge+1 {
		t.Errorf("sizes %d and %d", f.CompressedSize64, f.UncompressedSize64)
	}
	if off, err := zr.File[0].DataOffset(); err != nil || off != int64(len(large.AppendLocal(nil))) {
		t.Errorf("offset %d, %v", off, err)
	}
	r, err := zr.File[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != string(content) {
		t.Errorf("content %q, %v", got, err)
	}
	if n := len(large.AppendDescriptor(nil)); n != 24 {
		t.Errorf("the descriptor has %d bytes, not 24", n)
	}
}

func TestTimesOutOfRange(t *testing.T) {
	t.Parallel()
	for _, sec := range []int64{-1, 0, 1 << 33, 1 << 40} {
		st := unix.Stat_t{Mode: unix.S_IFREG, Mtim: unix.Timespec{Sec: sec}}
		e := ziprecord.New("f", &st)
		b := e.AppendLocal(nil)
		n := int64(len(b))
		b = ziprecord.AppendEnd(e.AppendCentral(b), 1, n, int64(len(e.AppendCentral(nil))))
		if _, err := zip.NewReader(bytes.NewReader(b), int64(len(b))); err != nil {
			t.Errorf("%d: %v", sec, err)
		}
	}
}
