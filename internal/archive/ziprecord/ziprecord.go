// Package ziprecord encodes the records of a zip file (APPNOTE.TXT 6.3.10, sections 4.3 to 4.5), with
// the extra fields that GitLab Runner writes: modification time and owner.
package ziprecord

import (
	"archive/zip"
	"encoding/binary"
	"io/fs"
	"math"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The compression methods.
const (
	Store   = 0
	Deflate = 8
	Zstd    = 93
)

// FlagDescriptor says that sizes and checksum follow an entry's content.
const FlagDescriptor = 0x8

// ExtraOwner is the extra field of Info-ZIP that holds uid and gid.
const ExtraOwner = 0x7875

const (
	flagUTF8 = 0x800

	versionNeeded   = 20
	versionNeeded64 = 45
	madeByUnix      = 3 << 8
	sigLocal        = 0x04034b50
	sigDescriptor   = 0x08074b50
	sigCentral      = 0x02014b50
	sigEnd          = 0x06054b50
	sigEnd64        = 0x06064b50
	sigEnd64Locator = 0x07064b50
	extraZip64      = 0x0001
	extraTime       = 0x5455
)

// Entry is what the central directory tells of one entry. Method, CRC, sizes and Offset are the caller's
// to set.
type Entry struct {
	Name   string // directories end in a slash
	Method uint16
	Flags  uint16
	CRC    uint32
	CSize  int64
	USize  int64
	mtime  int64
	Mode   fs.FileMode
	uid    uint32
	gid    uint32
	Offset int64 // of the local header in the archive
	Wide   bool  // sizes in the local header are zip64
}

// New returns the entry of a file, link or directory, stored and empty so far.
func New(name string, st *unix.Stat_t) Entry {
	e := Entry{
		Name:  name,
		Flags: flagUTF8,
		mtime: int64(st.Mtim.Sec), //nolint:unconvert // 32 bits on other architectures
		Mode:  fileMode(st.Mode),
		uid:   st.Uid,
		gid:   st.Gid,
	}
	if !utf8.ValidString(e.Name) {
		e.Flags = 0 // some readers refuse names that are not what the flag says
	}
	if e.Mode.IsDir() {
		e.Name += "/"
	}
	return e
}

// fileMode translates st_mode.
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	}
	return mode
}

// AppendLocal appends the entry's local header.
func (e *Entry) AppendLocal(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, sigLocal)
	b = e.appendCommon(b, e.Wide)
	csize, usize, crc := uint32(e.CSize), uint32(e.USize), e.CRC
	if e.Flags&FlagDescriptor != 0 {
		csize, usize, crc = 0, 0, 0
	}
	extra := 9 + 15
	if e.Wide {
		csize, usize = math.MaxUint32, math.MaxUint32
		extra += 20
	}
	b = le.AppendUint32(b, crc)
	b = le.AppendUint32(b, csize)
	b = le.AppendUint32(b, usize)
	b = le.AppendUint16(b, uint16(len(e.Name)))
	b = le.AppendUint16(b, uint16(extra))
	b = append(b, e.Name...)
	if e.Wide { // sizes follow in the descriptor, which this field makes 64 bits wide
		b = le.AppendUint16(b, extraZip64)
		b = le.AppendUint16(b, 16)
		b = le.AppendUint64(b, 0)
		b = le.AppendUint64(b, 0)
	}
	return e.appendExtra(b)
}

// appendCommon appends the fields that local and central headers share, up to the time.
func (e *Entry) appendCommon(b []byte, wide bool) []byte {
	le := binary.LittleEndian
	version := uint16(versionNeeded)
	if wide {
		version = versionNeeded64
	}
	if e.Method == Zstd {
		version = 63
	}
	date, clock := dosTime(e.mtime)
	b = le.AppendUint16(b, version)
	b = le.AppendUint16(b, e.Flags)
	b = le.AppendUint16(b, e.Method)
	b = le.AppendUint16(b, clock)
	return le.AppendUint16(b, date)
}

// appendExtra appends GitLab Runner's two fields: modification time and owner. 24 bytes.
func (e *Entry) appendExtra(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, ExtraOwner)
	b = le.AppendUint16(b, 11)
	b = append(b, 1, 4)
	b = le.AppendUint32(b, e.uid)
	b = append(b, 4)
	b = le.AppendUint32(b, e.gid)
	b = le.AppendUint16(b, extraTime)
	b = le.AppendUint16(b, 5)
	b = append(b, 1)
	return le.AppendUint32(b, uint32(e.mtime))
}

// AppendDescriptor appends what follows the content of an entry with FlagDescriptor.
func (e *Entry) AppendDescriptor(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, sigDescriptor)
	b = le.AppendUint32(b, e.CRC)
	if e.Wide {
		b = le.AppendUint64(b, uint64(e.CSize))
		return le.AppendUint64(b, uint64(e.USize))
	}
	b = le.AppendUint32(b, uint32(e.CSize))
	return le.AppendUint32(b, uint32(e.USize))
}

// AppendCentral appends the entry's record in the central directory.
func (e *Entry) AppendCentral(b []byte) []byte {
	le := binary.LittleEndian
	wide := e.Wide || e.CSize >= math.MaxUint32 || e.USize >= math.MaxUint32 || e.Offset >= math.MaxUint32
	b = le.AppendUint32(b, sigCentral)
	b = le.AppendUint16(b, madeByUnix|versionNeeded64)
	b = e.appendCommon(b, wide)
	csize, usize, offset, extra := uint32(e.CSize), uint32(e.USize), uint32(e.Offset), 9+15
	if wide {
		csize, usize, offset = math.MaxUint32, math.MaxUint32, math.MaxUint32
		extra += 28
	}
	b = le.AppendUint32(b, e.CRC)
	b = le.AppendUint32(b, csize)
	b = le.AppendUint32(b, usize)
	b = le.AppendUint16(b, uint16(len(e.Name)))
	b = le.AppendUint16(b, uint16(extra))
	b = le.AppendUint16(b, 0) // comment
	b = le.AppendUint32(b, 0) // disk, internal attributes
	b = le.AppendUint32(b, e.attributes())
	b = le.AppendUint32(b, offset)
	b = append(b, e.Name...)
	if wide {
		b = le.AppendUint16(b, extraZip64)
		b = le.AppendUint16(b, 24)
		b = le.AppendUint64(b, uint64(e.USize))
		b = le.AppendUint64(b, uint64(e.CSize))
		b = le.AppendUint64(b, uint64(e.Offset))
	}
	return e.appendExtra(b)
}

func (e *Entry) attributes() uint32 {
	var h zip.FileHeader
	h.SetMode(e.Mode)
	return h.ExternalAttrs
}

// AppendEnd appends the end of a central directory of n entries that is size bytes long and starts at
// start.
func AppendEnd(b []byte, n, start, size int64) []byte {
	le := binary.LittleEndian
	n16, start32, size32 := uint16(n), uint32(start), uint32(size)
	if n >= math.MaxUint16 || start >= math.MaxUint32 || size >= math.MaxUint32 {
		n16, start32, size32 = math.MaxUint16, math.MaxUint32, math.MaxUint32
		b = le.AppendUint32(b, sigEnd64)
		b = le.AppendUint64(b, 44)
		b = le.AppendUint16(b, madeByUnix|versionNeeded64)
		b = le.AppendUint16(b, versionNeeded64)
		b = le.AppendUint64(b, 0) // disks
		b = le.AppendUint64(b, uint64(n))
		b = le.AppendUint64(b, uint64(n))
		b = le.AppendUint64(b, uint64(size))
		b = le.AppendUint64(b, uint64(start))
		b = le.AppendUint32(b, sigEnd64Locator)
		b = le.AppendUint32(b, 0)
		b = le.AppendUint64(b, uint64(start+size))
		b = le.AppendUint32(b, 1)
	}
	b = le.AppendUint32(b, sigEnd)
	b = le.AppendUint32(b, 0) // disks
	b = le.AppendUint16(b, n16)
	b = le.AppendUint16(b, n16)
	b = le.AppendUint32(b, size32)
	b = le.AppendUint32(b, start32)
	return le.AppendUint16(b, 0) // comment
}

// dosTime returns MS-DOS date and time (UTC), which cannot be before 1980.
func dosTime(sec int64) (date, clock uint16) {
	t := time.Unix(sec, 0).UTC()
	switch {
	case t.Year() < 1980:
		return 1<<5 | 1, 0
	case t.Year() > 2107:
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock
}
