package archive

import (
	"archive/zip"
	"encoding/binary"
	"io/fs"
	"math"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Constants of the zip format (APPNOTE.TXT 6.3.10, sections 4.3 to 4.5).
const (
	methodStore   = 0
	methodDeflate = 8
	methodZstd    = 93

	flagDescriptor = 0x8
	flagUTF8       = 0x800

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
	extraOwner      = 0x7875
)

// zipEntry is what the central directory tells of one entry.
type zipEntry struct {
	name   string // directories end in a slash
	method uint16
	flags  uint16
	crc    uint32
	csize  int64
	usize  int64
	mtime  int64
	mode   fs.FileMode
	uid    uint32
	gid    uint32
	offset int64 // of the local header; in a parcel relative to the parcel
	big    bool  // sizes in the local header are zip64
}

func newZipEntry(it *item) zipEntry {
	e := zipEntry{
		name:  it.name,
		flags: flagUTF8,
		mtime: int64(it.st.Mtim.Sec), //nolint:unconvert // 32 bits on other architectures
		mode:  fileMode(it.st.Mode),
		uid:   it.st.Uid,
		gid:   it.st.Gid,
	}
	if !utf8.ValidString(e.name) {
		e.flags = 0 // some readers refuse names that are not what the flag says
	}
	if e.mode.IsDir() {
		e.name += "/"
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

// appendLocal appends the entry's local header.
func (e *zipEntry) appendLocal(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, sigLocal)
	b = e.appendCommon(b, e.big)
	csize, usize, crc := uint32(e.csize), uint32(e.usize), e.crc
	if e.flags&flagDescriptor != 0 {
		csize, usize, crc = 0, 0, 0
	}
	extra := 9 + 15
	if e.big {
		csize, usize = math.MaxUint32, math.MaxUint32
		extra += 20
	}
	b = le.AppendUint32(b, crc)
	b = le.AppendUint32(b, csize)
	b = le.AppendUint32(b, usize)
	b = le.AppendUint16(b, uint16(len(e.name)))
	b = le.AppendUint16(b, uint16(extra))
	b = append(b, e.name...)
	if e.big { // sizes follow in the descriptor, which this field makes 64 bits wide
		b = le.AppendUint16(b, extraZip64)
		b = le.AppendUint16(b, 16)
		b = le.AppendUint64(b, 0)
		b = le.AppendUint64(b, 0)
	}
	return e.appendExtra(b)
}

// appendCommon appends the fields that local and central headers share, up to the time.
func (e *zipEntry) appendCommon(b []byte, wide bool) []byte {
	le := binary.LittleEndian
	version := uint16(versionNeeded)
	if wide {
		version = versionNeeded64
	}
	if e.method == methodZstd {
		version = 63
	}
	date, clock := dosTime(e.mtime)
	b = le.AppendUint16(b, version)
	b = le.AppendUint16(b, e.flags)
	b = le.AppendUint16(b, e.method)
	b = le.AppendUint16(b, clock)
	return le.AppendUint16(b, date)
}

// appendExtra appends GitLab Runner's two fields: modification time and owner. 24 bytes.
func (e *zipEntry) appendExtra(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, extraOwner)
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

// appendDescriptor appends what follows the content of an entry with flagDescriptor.
func (e *zipEntry) appendDescriptor(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, sigDescriptor)
	b = le.AppendUint32(b, e.crc)
	if e.big {
		b = le.AppendUint64(b, uint64(e.csize))
		return le.AppendUint64(b, uint64(e.usize))
	}
	b = le.AppendUint32(b, uint32(e.csize))
	return le.AppendUint32(b, uint32(e.usize))
}

// appendCentral appends the entry's record in the central directory.
func (e *zipEntry) appendCentral(b []byte) []byte {
	le := binary.LittleEndian
	wide := e.big || e.csize >= math.MaxUint32 || e.usize >= math.MaxUint32 || e.offset >= math.MaxUint32
	b = le.AppendUint32(b, sigCentral)
	b = le.AppendUint16(b, madeByUnix|versionNeeded64)
	b = e.appendCommon(b, wide)
	csize, usize, offset, extra := uint32(e.csize), uint32(e.usize), uint32(e.offset), 9+15
	if wide {
		csize, usize, offset = math.MaxUint32, math.MaxUint32, math.MaxUint32
		extra += 28
	}
	b = le.AppendUint32(b, e.crc)
	b = le.AppendUint32(b, csize)
	b = le.AppendUint32(b, usize)
	b = le.AppendUint16(b, uint16(len(e.name)))
	b = le.AppendUint16(b, uint16(extra))
	b = le.AppendUint16(b, 0) // comment
	b = le.AppendUint32(b, 0) // disk, internal attributes
	b = le.AppendUint32(b, e.attributes())
	b = le.AppendUint32(b, offset)
	b = append(b, e.name...)
	if wide {
		b = le.AppendUint16(b, extraZip64)
		b = le.AppendUint16(b, 24)
		b = le.AppendUint64(b, uint64(e.usize))
		b = le.AppendUint64(b, uint64(e.csize))
		b = le.AppendUint64(b, uint64(e.offset))
	}
	return e.appendExtra(b)
}

func (e *zipEntry) attributes() uint32 {
	var h zip.FileHeader
	h.SetMode(e.mode)
	return h.ExternalAttrs
}

// appendEnd appends the end of a central directory of n entries that is size bytes long and starts at
// start.
func appendEnd(b []byte, n, start, size int64) []byte {
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
