package archive

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"path"

	"github.com/klauspost/compress"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
	"gitlab.com/skerry/skerry/internal/archive/ziprecord"
)

const (
	zipBatch = 1 << 20 // bytes of small files in one parcel; larger files are cut into blocks
	zipBlock = 1 << 20
	window   = 32 << 10 // of deflate: what a block may refer to in the block before it
)

// flateLevel is a level of klauspost's deflate, whose level 1 packs about as tightly as zlib's 3.
func flateLevel(l Level) int {
	return map[Level]int{Fastest: flate.NoCompression, Fast: 1, Default: 2, Slow: 6, Slowest: 9}[l]
}

func zstdLevel(l Level) zstd.EncoderLevel {
	return map[Level]zstd.EncoderLevel{
		Fastest: zstd.SpeedFastest,
		Fast:    zstd.SpeedFastest,
		Default: zstd.SpeedDefault,
		Slow:    zstd.SpeedBetterCompression,
		Slowest: zstd.SpeedBestCompression,
	}[l]
}

// asZip makes the packing one of a zip.
func (p *packing) asZip() {
	level := p.o.Level
	if level == "" {
		level = Default
	}
	method := uint16(ziprecord.Deflate)
	switch {
	case level == Fastest:
		method = ziprecord.Store
	case p.o.Format == ZipZstd:
		method = ziprecord.Zstd
	}
	p.batchMax, p.blockSize = zipBatch, zipBlock
	p.asm = &zipAssembler{method: method}
	p.makeEnc = func() (encoder, error) {
		enc := &zipEncoder{method: method, pack: p}
		var err error
		switch method {
		case ziprecord.Deflate:
			enc.flate, err = flate.NewWriter(nil, flateLevel(level))
		case ziprecord.Zstd:
			enc.zstd, err = newZstdEncoder(level)
		}
		return enc, err
	}
}

func newZstdEncoder(level Level) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstdLevel(level)), zstd.WithEncoderConcurrency(1))
}

// zipEncoder encodes parcels of a zip.
type zipEncoder struct {
	method uint16
	pack   *packing
	flate  *flate.Writer
	zstd   *zstd.Encoder
	buf    bytes.Buffer
	tmp    []byte
}

func (z *zipEncoder) close() {}

// batch encodes small files, each with its local header in front.
func (z *zipEncoder) batch(t *beneath.Tree, p *parcel) error {
	for i := range p.items {
		e := ziprecord.New(p.items[i].name, &p.items[i].st)
		if len(e.Name) > math.MaxUint16 {
			return fmt.Errorf("the name of %.64q… is too long for a zip", e.Name)
		}
		raw, err := z.content(t, p, &p.items[i])
		if errors.Is(err, fs.ErrNotExist) {
			z.pack.warn("File ignored: %v", err)
			continue
		}
		if err != nil {
			return err
		}
		if err := z.entry(p, &e, raw); err != nil {
			return err
		}
		p.files++
		if e.Mode.IsRegular() {
			p.bytes += e.USize
		}
	}
	return nil
}

// content returns the whole content of a small item: a link's is its target.
func (z *zipEncoder) content(t *beneath.Tree, p *parcel, it *item) ([]byte, error) {
	switch it.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return nil, nil
	case unix.S_IFLNK:
		target, err := t.Readlink(it.name)
		return []byte(target), err
	}
	p.buf = grow(p.buf, int(it.st.Size))
	return t.ReadFile(it.name, p.buf)
}

// entry appends a whole entry to the parcel.
func (z *zipEncoder) entry(p *parcel, e *ziprecord.Entry, raw []byte) error {
	e.Offset = int64(len(p.out))
	e.USize = int64(len(raw))
	e.CRC = crc32.ChecksumIEEE(raw)
	data := raw
	if z.method != ziprecord.Store && len(raw) > 16 && e.Mode.IsRegular() {
		packed, err := z.compress(raw)
		if err != nil {
			return err
		}
		if len(packed) < len(raw) {
			data, e.Method = packed, z.method
		}
	}
	e.CSize = int64(len(data))
	p.out = append(e.AppendLocal(p.out), data...)
	p.entries = append(p.entries, *e)
	return nil
}

func (z *zipEncoder) compress(raw []byte) ([]byte, error) {
	if z.zstd != nil {
		z.tmp = z.zstd.EncodeAll(raw, z.tmp[:0])
		return z.tmp, nil
	}
	z.buf.Reset()
	z.flate.ResetDict(&z.buf, nil)
	if _, err := z.flate.Write(raw); err != nil {
		return nil, err
	}
	if err := z.flate.Close(); err != nil {
		return nil, err
	}
	return z.buf.Bytes(), nil
}

// block encodes one block of a big file. Blocks of deflate end at a byte, so that they can simply be
// put one after the other, and start with the end of the block before as dictionary.
func (z *zipEncoder) block(p *parcel) error {
	before := min(p.off, window)
	size := min(zipBlock, p.big.st.Size-p.off)
	if cap(p.buf) < window+zipBlock {
		p.buf = make([]byte, window+zipBlock)
	}
	p.buf = p.buf[:before+size]
	n, err := beneath.ReadAt(p.big.fd, p.big.name, p.buf, p.off-before)
	if err != nil {
		return err
	}
	dict, raw := p.buf[:min(int(before), n)], p.buf[min(int(before), n):n]
	p.raw, p.bytes = raw, int64(len(raw))
	if p.last {
		p.files = 1
	}
	switch {
	case z.method == ziprecord.Store || p.big.store:
		p.plain = true
		return nil
	case z.zstd != nil:
		p.out = z.zstd.EncodeAll(raw, p.out)
		return nil
	}
	if cap(p.out) == 0 {
		p.out = make([]byte, 0, zipBlock+zipBlock/64)
	}
	out := bytes.NewBuffer(p.out)
	z.flate.ResetDict(out, dict)
	if _, err := z.flate.Write(raw); err != nil {
		return err
	}
	if p.last {
		err = z.flate.Close()
	} else {
		err = z.flate.Flush()
	}
	p.out = out.Bytes()
	return err
}

// worthwhile reports whether compressing a file promises anything, by samples of it.
func worthwhile(fd int, size int64) bool {
	const sample, samples = 16 << 10, 6
	buf := make([]byte, sample)
	good := 0.0
	for i := range int64(samples) {
		n, err := beneath.ReadAt(fd, "", buf, i*(size-sample)/(samples-1))
		if err != nil || n == 0 {
			return true // whoever reads it next says what is wrong
		}
		good = max(good, compress.Estimate(buf[:n]))
	}
	return good > 0.05
}

// zipAssembler writes parcels one after the other and remembers the central directory.
type zipAssembler struct {
	method  uint16
	at      int64
	n       int64
	big     ziprecord.Entry // the entry whose blocks are being written
	central []byte
	buf     []byte
}

func (z *zipAssembler) write(w io.Writer, b []byte) error {
	n, err := w.Write(b)
	z.at += int64(n)
	return err
}

func (z *zipAssembler) add(w io.Writer, p *parcel) error {
	if p.big != nil {
		return z.addBlock(w, p)
	}
	for i := range p.entries {
		p.entries[i].Offset += z.at
		z.central = p.entries[i].AppendCentral(z.central)
		z.n++
	}
	return z.write(w, p.out)
}

func (z *zipAssembler) addBlock(w io.Writer, p *parcel) error {
	if p.off == 0 {
		if len(p.big.name) > math.MaxUint16 {
			return fmt.Errorf("the name of %.64q… is too long for a zip", path.Base(p.big.name))
		}
		z.big = ziprecord.New(p.big.name, &p.big.st)
		z.big.Flags |= ziprecord.FlagDescriptor
		z.big.Offset = z.at
		z.big.Wide = p.big.st.Size >= math.MaxUint32-1<<24 // what deflate may add to it included
		if !p.big.store {
			z.big.Method = z.method
		}
		if err := z.write(w, z.big.AppendLocal(z.buf[:0])); err != nil {
			return err
		}
	}
	z.big.CRC = crc32.Update(z.big.CRC, crc32.IEEETable, p.raw)
	z.big.USize += int64(len(p.raw))
	z.big.CSize += int64(len(p.data()))
	if err := z.write(w, p.data()); err != nil {
		return err
	}
	if !p.last {
		return nil
	}
	z.central = z.big.AppendCentral(z.central)
	z.n++
	z.buf = z.big.AppendDescriptor(z.buf[:0])
	return z.write(w, z.buf)
}

func (z *zipAssembler) finish(w io.Writer) error {
	start := z.at
	if err := z.write(w, z.central); err != nil {
		return err
	}
	return z.write(w, ziprecord.AppendEnd(z.buf[:0], z.n, start, int64(len(z.central))))
}
