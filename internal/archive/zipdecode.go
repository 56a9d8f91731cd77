package archive

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// ioBuffer is the size of buffers for streams.
const ioBuffer = 256 << 10

// zipDecoder decompresses entries for one worker.
type zipDecoder struct {
	in, out []byte
	src     bytes.Reader
	buf     *bufio.Reader
	flate   io.ReadCloser
	zstd    *zstd.Decoder
}

func newZipDecoder() *zipDecoder {
	return &zipDecoder{flate: flate.NewReader(nil), buf: bufio.NewReaderSize(nil, ioBuffer)}
}

func (d *zipDecoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

// reader returns a reader of decompressed bytes of r; it is good until the next call.
func (d *zipDecoder) reader(r io.Reader, method uint16) (io.Reader, error) {
	switch method {
	case methodDeflate:
		return d.flate, d.flate.(flate.Resetter).Reset(r, nil)
	case methodZstd:
		if d.zstd == nil {
			z, err := newZstdDecoder(nil)
			if err != nil {
				return nil, err
			}
			d.zstd = z
		}
		return d.zstd, d.zstd.Reset(r)
	default:
		return r, nil
	}
}

func newZstdDecoder(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(128<<20))
}

// inflate decompresses in into out, which it must fill exactly.
func (d *zipDecoder) inflate(method uint16) error {
	d.src.Reset(d.in)
	r, err := d.reader(&d.src, method)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(r, d.out); err != nil {
		return err
	}
	var more [1]byte
	switch n, err := io.ReadFull(r, more[:]); {
	case n > 0:
		return zip.ErrFormat // longer than it says
	case err != io.EOF:
		return err
	}
	return nil
}

// stream decompresses an entry into an open file and checks length and checksum.
func (d *zipDecoder) stream(ctx context.Context, p *placer, fd int, in io.Reader, j *zipJob) error {
	if j.f.Method != methodStore {
		d.buf.Reset(in)
		in = d.buf
	}
	r, err := d.reader(in, j.f.Method)
	if err != nil {
		return err
	}
	d.out = grow(d.out, ioBuffer)
	crc, left := uint32(0), int64(j.f.UncompressedSize64)
	for {
		n, err := io.ReadFull(r, d.out)
		if left -= int64(n); left < 0 {
			return zip.ErrFormat
		}
		if n > 0 {
			crc = crc32.Update(crc, crc32.IEEETable, d.out[:n])
			if err := p.spend(int64(n)); err != nil {
				return err
			}
			if err := write(fd, j.e.name, d.out[:n]); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == io.EOF, err == io.ErrUnexpectedEOF && n > 0 && left == 0:
			if left != 0 || crc != j.f.CRC32 {
				return zip.ErrChecksum
			}
			return nil
		case err != nil:
			return err
		}
	}
}
