package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
	"gitlab.com/skerry/skerry/internal/archive/inflate"
	"gitlab.com/skerry/skerry/internal/archive/ziprecord"
)

// ioBuffer is the size of buffers for streams.
const ioBuffer = 256 << 10

// zipDecoder decompresses entries for one worker.
type zipDecoder struct {
	in, out []byte
	flate   *inflate.Decoder
	zstd    *zstd.Decoder // made when it is needed
}

func newZipDecoder() *zipDecoder { return &zipDecoder{flate: inflate.New(smallEntry)} }

func (d *zipDecoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

func newZstdDecoder(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(128<<20))
}

// whole decompresses d.in, which becomes at most smallEntry bytes; they are good until the next use.
func (d *zipDecoder) whole(method uint16) ([]byte, error) {
	if method == ziprecord.Store {
		return d.in, nil
	}
	var content []byte
	err := d.pieces(method, nil, func(b []byte) error {
		if content != nil {
			return zip.ErrFormat // longer than it says
		}
		content = b
		return nil
	})
	return content, err
}

// pieces decompresses r, or d.in when that is nil, and hands out what it makes of it.
func (d *zipDecoder) pieces(method uint16, r io.Reader, emit func([]byte) error) error {
	switch {
	case method == ziprecord.Deflate && r == nil:
		return d.flate.Bytes(d.in, emit)
	case method == ziprecord.Deflate:
		return d.flate.Reader(r, emit)
	case r == nil:
		r = bytes.NewReader(d.in)
	}
	if method == ziprecord.Zstd {
		var err error
		if d.zstd == nil {
			d.zstd, err = newZstdDecoder(r)
		} else {
			err = d.zstd.Reset(r)
		}
		if err != nil {
			return err
		}
		r = d.zstd
	}
	d.out = grow(d.out, smallEntry)
	for {
		n, err := io.ReadFull(r, d.out)
		if n > 0 {
			if err := emit(d.out[:n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF: // whether something is missing, length and checksum tell
			return nil
		default:
			return err
		}
	}
}

// stream decompresses an entry into an open file and checks length and checksum.
func (d *zipDecoder) stream(ctx context.Context, p *placer, fd int, in io.Reader, j *zipJob) error {
	crc, left := uint32(0), j.f.UncompressedSize64
	err := d.pieces(j.f.Method, in, func(b []byte) error {
		if uint64(len(b)) > left {
			return zip.ErrFormat
		}
		left -= uint64(len(b))
		crc = crc32.Update(crc, crc32.IEEETable, b)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := p.spend(int64(len(b))); err != nil {
			return err
		}
		return beneath.Write(fd, j.e.name, b)
	})
	if err == nil && (left != 0 || crc != j.f.CRC32) {
		err = zip.ErrChecksum
	}
	return err
}
