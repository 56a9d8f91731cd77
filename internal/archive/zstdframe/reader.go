// Package zstdframe decompresses a sequence of zstd frames side by side: one big frame is a stream
// that one processor decompresses, but many small ones, as our own archives have, are not.
package zstdframe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// inBuffer is how much of the archive is read at once.
const inBuffer = 256 << 10

// maxFrame is the largest content of a zstd frame that is decompressed in memory.
const maxFrame = 8 << 20

// frame is one zstd frame on its way through a Reader.
type frame struct {
	packed []byte
	skip   int64 // instead: it was skipped, so many bytes
	out    []byte
	rest   io.Reader // instead: what is left of the archive, to be decompressed as a stream
	err    error
	done   chan struct{}
}

// Reader reads a sequence of zstd frames. Frames that say that they are small are decompressed
// side by side; from the first other one on it is a stream. Close must be called.
type Reader struct {
	order  chan *frame
	now    *frame
	out    []byte
	stream *zstd.Decoder
	cancel context.CancelFunc
	wg     sync.WaitGroup
	free   chan *frame
}

// NewReader reads the size bytes of r with so many workers; memory is bounded by a few frames a worker.
func NewReader(ctx context.Context, r io.ReaderAt, size int64, workers int) (*Reader, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &Reader{order: make(chan *frame, workers+1), cancel: cancel, free: make(chan *frame, 2*workers+4)}
	queue := make(chan *frame, workers+1)
	for range workers {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFrame))
		if err != nil {
			cancel()
			return nil, err
		}
		f.wg.Go(func() {
			defer dec.Close()
			for one := range queue {
				one.out, one.err = dec.DecodeAll(one.packed, one.out[:0])
				close(one.done)
			}
		})
	}
	f.wg.Go(func() {
		defer close(f.order)
		defer close(queue)
		f.scan(ctx, queue, r, size)
	})
	return f, nil
}

// Close ends the goroutines.
func (f *Reader) Close() {
	f.cancel()
	for one := range f.order { // the scanner may be waiting to send
		_ = one
	}
	f.wg.Wait()
	if f.stream != nil {
		f.stream.Close()
	}
}

// scan cuts the archive into frames.
func (f *Reader) scan(ctx context.Context, queue chan<- *frame, r io.ReaderAt, size int64) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), inBuffer)
	for at := int64(0); at < size; {
		one := &frame{}
		select {
		case one = <-f.free:
		default:
		}
		*one = frame{packed: one.packed[:0], out: one.out, done: make(chan struct{})}
		whole, err := one.read(in)
		switch {
		case err != nil:
			one.err = err
		case one.skip > 0:
			at += one.skip
			continue
		case !whole:
			one.rest = io.NewSectionReader(r, at, size-at)
		}
		at += int64(len(one.packed))
		if one.err != nil || one.rest != nil {
			close(one.done)
		}
		select {
		case f.order <- one:
		case <-ctx.Done():
			return
		}
		if one.err != nil || one.rest != nil {
			return
		}
		queue <- one
	}
}

// read reads a frame. whole is false, and nothing is read, when it is not one to decompress in memory.
func (one *frame) read(in *bufio.Reader) (whole bool, err error) {
	head, err := in.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) { // the last frame may be shorter
		return false, err
	}
	err = nil
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return false, fmt.Errorf("read zstd: %w", err)
	}
	if h.Skippable {
		one.skip = int64(h.HeaderSize) + int64(h.SkippableSize)
		_, err := io.CopyN(io.Discard, in, one.skip)
		return true, err
	}
	if !h.HasFCS || h.FrameContentSize > maxFrame {
		return false, nil
	}
	if err := one.take(in, h.HeaderSize); err != nil {
		return true, err
	}
	for last := false; !last && err == nil; {
		last, err = one.block(in)
	}
	if err == nil && h.HasCheckSum {
		err = one.take(in, 4)
	}
	return true, err
}

// block reads a block of the frame and reports whether it is the last one.
func (one *frame) block(in io.Reader) (last bool, err error) {
	if err := one.take(in, 3); err != nil {
		return true, err
	}
	b := one.packed[len(one.packed)-3:]
	head := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	n := int(head >> 3)
	if head>>1&3 == 1 { // a byte to repeat
		n = 1
	}
	if len(one.packed)+n > 2*maxFrame {
		return true, errors.New("read zstd: frame is longer than its content")
	}
	return head&1 == 1, one.take(in, n)
}

// take moves n bytes into the frame.
func (one *frame) take(in io.Reader, n int) error {
	at := len(one.packed)
	one.packed = grow(one.packed, n)
	if _, err := io.ReadFull(in, one.packed[at:]); err != nil {
		return fmt.Errorf("read zstd: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// Read implements io.Reader.
func (f *Reader) Read(p []byte) (int, error) {
	for len(f.out) == 0 {
		if f.stream != nil {
			return f.stream.Read(p)
		}
		if f.now != nil {
			select {
			case f.free <- f.now:
			default:
			}
			f.now = nil
		}
		one, ok := <-f.order
		if !ok {
			return 0, io.EOF
		}
		<-one.done
		if one.err != nil {
			return 0, one.err
		}
		if one.rest != nil {
			z, err := stream(one.rest)
			if err != nil {
				return 0, err
			}
			f.stream = z
			continue
		}
		f.now, f.out = one, one.out
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}

// stream decompresses with little memory, whatever the frames are.
func stream(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(128<<20))
}

// grow returns b with n bytes more, of any content.
func grow(b []byte, n int) []byte {
	if need := len(b) + n; need <= cap(b) {
		return b[:need]
	}
	return append(b, make([]byte, n)...)
}
