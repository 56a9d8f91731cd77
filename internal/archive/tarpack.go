package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
)

const (
	// tarFrame is how much of the tar stream one zstd frame holds: frames are packed and unpacked
	// side by side, and what is lost by starting anew every 4 MiB is less than one per cent.
	tarFrame = 4 << 20
	tarBlock = 512
)

// asTarZstd makes the packing one of a tar+zstd: every parcel becomes a frame of its own.
func (p *packing) asTarZstd() {
	level := p.o.Level
	if level == "" {
		level = Default
	}
	p.batchMax, p.blockSize = tarFrame/2, tarFrame
	p.asm = tarAssembler{}
	p.makeEnc = func() (encoder, error) {
		z, err := newZstdEncoder(level)
		return &tarEncoder{pack: p, zstd: z}, err
	}
}

// tarEncoder encodes parcels of a tar+zstd.
type tarEncoder struct {
	pack *packing
	zstd *zstd.Encoder
	head bytes.Buffer
	raw  []byte // tar stream of a parcel
}

func (e *tarEncoder) close() { _ = e.zstd.Close() }

// batch encodes small files.
func (e *tarEncoder) batch(t *beneath.Tree, p *parcel) error {
	e.raw = e.raw[:0]
	for i := range p.items {
		err := e.add(t, p, &p.items[i])
		if errors.Is(err, fs.ErrNotExist) {
			e.pack.warn("File ignored: %v", err)
			continue
		}
		if err != nil {
			return err
		}
		p.files++
	}
	p.out = e.zstd.EncodeAll(e.raw, p.out)
	return nil
}

func (e *tarEncoder) add(t *beneath.Tree, p *parcel, it *item) error {
	var data []byte
	var link string
	var err error
	size := int64(0)
	switch it.st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if link, err = t.Readlink(it.name); err != nil {
			return err
		}
	case unix.S_IFREG:
		p.buf = grow(p.buf, int(it.st.Size))
		if data, err = t.ReadFile(it.name, p.buf); err != nil {
			return err
		}
		size = int64(len(data))
		p.bytes += size
	}
	if e.raw, err = e.header(e.raw, it, link, size); err != nil {
		return err
	}
	e.raw = append(e.raw, data...)
	e.raw = pad(e.raw, size)
	return nil
}

// header appends an entry's tar header, in the format that its name and numbers need.
func (e *tarEncoder) header(b []byte, it *item, link string, size int64) ([]byte, error) {
	h := tar.Header{
		Name:     it.name,
		Linkname: link,
		Size:     size,
		Mode:     int64(it.st.Mode & 0o777),
		Uid:      int(it.st.Uid),
		Gid:      int(it.st.Gid),
		ModTime:  time.Unix(it.st.Mtim.Sec, 0), // archive/tar would round up, into the future
		Typeflag: tar.TypeReg,
	}
	switch it.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, it.name+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
	}
	e.head.Reset()
	if err := tar.NewWriter(&e.head).WriteHeader(&h); err != nil {
		return b, fmt.Errorf("archive %q: %w", it.name, err)
	}
	return append(b, e.head.Bytes()...), nil
}

// pad appends zeros up to the end of the tar block for content of size bytes.
func pad(b []byte, size int64) []byte {
	if rest := size % tarBlock; rest != 0 {
		var zeros [tarBlock]byte
		b = append(b, zeros[rest:]...)
	}
	return b
}

// block encodes one block of a big file; the first carries the header, the last the padding.
func (e *tarEncoder) block(p *parcel) error {
	e.raw = e.raw[:0]
	if p.off == 0 {
		var err error
		if e.raw, err = e.header(e.raw, &p.big.item, "", p.big.st.Size); err != nil {
			return err
		}
	}
	size := min(tarFrame, p.big.st.Size-p.off)
	head := len(e.raw)
	e.raw = grow2(e.raw, int(size))
	n, err := beneath.ReadAt(p.big.fd, p.big.name, e.raw[head:], p.off)
	if err != nil {
		return err
	}
	if int64(n) < size {
		return fmt.Errorf("file %q became shorter while it was archived", p.big.name)
	}
	p.bytes = size
	if p.last {
		e.raw = pad(e.raw, p.big.st.Size)
		p.files = 1
	}
	p.out = e.zstd.EncodeAll(e.raw, p.out)
	return nil
}

// grow2 returns b with n bytes more, of any content.
func grow2(b []byte, n int) []byte {
	if need := len(b) + n; need <= cap(b) {
		return b[:need]
	}
	return append(b, make([]byte, n)...)
}

// tarAssembler writes frames one after the other.
type tarAssembler struct{}

func (tarAssembler) add(w io.Writer, p *parcel) error {
	_, err := w.Write(p.out)
	return err
}

// finish writes the two blocks of zeros that end a tar.
func (tarAssembler) finish(w io.Writer) error {
	z, err := newZstdEncoder(Fastest)
	if err != nil {
		return err
	}
	_, err = w.Write(z.EncodeAll(make([]byte, 2*tarBlock), nil))
	return errors.Join(err, z.Close())
}
