package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
	"gitlab.com/skerry/skerry/internal/archive/ziprecord"
)

// item is one thing to pack.
type item struct {
	name string
	st   unix.Stat_t
}

// parcel is a piece of work that a worker turns into bytes of the archive: several small items, or
// one block of a big file.
type parcel struct {
	items []item
	big   *bigFile
	off   int64 // of the block in big
	last  bool  // the block is big's last

	buf     []byte // for content that was read
	raw     []byte // the block's content, a part of buf
	out     []byte // what goes into the archive
	plain   bool   // raw goes into the archive instead of out
	entries []ziprecord.Entry
	files   int
	bytes   int64
	err     error
	done    chan struct{}
}

func (p *parcel) data() []byte {
	if p.plain {
		return p.raw
	}
	return p.out
}

// bigFile is a file that is packed in several parcels; its descriptor is closed by the writer.
type bigFile struct {
	item
	fd    int
	store bool // not worth compressing
}

// encoder turns parcels into bytes. One worker has one.
type encoder interface {
	batch(t *beneath.Tree, p *parcel) error
	block(p *parcel) error
	close()
}

// assembler puts encoded parcels into the archive, in order.
type assembler interface {
	add(w io.Writer, p *parcel) error
	finish(w io.Writer) error
}

// packing is one run of pack.
type packing struct {
	o         Options
	root      *os.Root
	batchMax  int64 // bytes of content in one parcel
	blockSize int64
	makeEnc   func() (encoder, error)
	asm       assembler
	warnLock  sync.Mutex

	queue chan *parcel // to the workers
	order chan *parcel // to the writer; its capacity bounds what is in flight
	free  chan *parcel // used ones: their buffers are worth more than a sync.Pool's forgetting
}

func pack(ctx context.Context, w io.Writer, root *os.Root, files []string, o Options) (Stats, error) {
	p := &packing{o: o, root: root}
	if o.Format == TarZstd {
		p.asTarZstd()
	} else {
		p.asZip()
	}
	n := o.workers()
	p.order = make(chan *parcel, 2*n)
	p.queue = make(chan *parcel, 2*n)
	p.free = make(chan *parcel, 2*n+2)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range n {
		enc, err := p.makeEnc()
		if err != nil {
			cancel(err)
			break
		}
		wg.Go(func() { p.work(ctx, enc) })
	}
	wg.Go(func() {
		defer close(p.order)
		defer close(p.queue)
		if err := p.plan(ctx, files); err != nil {
			cancel(err)
		}
	})
	st, err := p.write(ctx, cancel, w)
	wg.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
	}
	if err == nil {
		err = p.asm.finish(w)
	}
	return st, err
}

func (p *packing) warn(format string, args ...any) {
	if p.o.Warn != nil {
		p.warnLock.Lock()
		defer p.warnLock.Unlock()
		p.o.Warn(fmt.Sprintf(format, args...))
	}
}

// work encodes parcels until the queue ends. After a failure it only lets them pass.
func (p *packing) work(ctx context.Context, enc encoder) {
	defer enc.close()
	t, err := beneath.New(p.root)
	if err == nil {
		defer t.Close()
	}
	for one := range p.queue {
		switch {
		case err != nil:
			one.err = err
		case ctx.Err() != nil:
			one.err = context.Cause(ctx)
		case one.big != nil:
			one.err = enc.block(one)
		default:
			one.err = enc.batch(t, one)
		}
		close(one.done)
	}
}

// write brings the parcels into the archive in their order and gives them back.
//
// A big file is closed once all its blocks are done: while a block before it failed, the workers may
// still read from it.
func (p *packing) write(ctx context.Context, cancel context.CancelCauseFunc, w io.Writer) (st Stats, err error) {
	var big *bigFile // the one whose blocks are coming
	for one := range p.order {
		<-one.done
		if big != nil && big != one.big {
			big.close()
		}
		big = one.big
		if err == nil {
			err = one.err
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = p.asm.add(w, one)
			st.Files += one.files
			st.Bytes += one.bytes
		}
		if err != nil {
			cancel(err)
		}
		p.recycle(one)
	}
	if big != nil {
		big.close()
	}
	return st, err
}

func (b *bigFile) close() {
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}

func (p *packing) parcel() *parcel {
	one := &parcel{}
	select {
	case one = <-p.free:
	default:
	}
	one.done = make(chan struct{})
	return one
}

func (p *packing) recycle(one *parcel) {
	*one = parcel{items: one.items[:0], buf: one.buf, out: one.out[:0], entries: one.entries[:0]}
	select {
	case p.free <- one:
	default:
	}
}

// send hands a parcel over; false means that the run is over.
func (p *packing) send(ctx context.Context, one *parcel) bool {
	select {
	case p.order <- one:
	case <-ctx.Done():
		return false
	}
	p.queue <- one // never blocks for long: the workers drain it even after a failure
	return true
}

// plan looks at every file and cuts the work into parcels.
func (p *packing) plan(ctx context.Context, files []string) error {
	t, err := beneath.New(p.root)
	if err != nil {
		return err
	}
	defer t.Close()
	one, sum := p.parcel(), int64(0)
	for _, name := range files {
		var it item
		ok, err := p.look(t, name, &it)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		big := it.st.Mode&unix.S_IFMT == unix.S_IFREG && it.st.Size > p.batchMax
		if len(one.items) > 0 && (big || len(one.items) >= 256 || sum+it.st.Size > p.batchMax) {
			if !p.send(ctx, one) {
				return nil
			}
			one, sum = p.parcel(), 0
		}
		if big {
			if err := p.planBig(ctx, t, it); err != nil {
				return err
			}
			continue
		}
		one.items = append(one.items, it)
		sum += it.st.Size
	}
	if len(one.items) > 0 {
		p.send(ctx, one)
	}
	return nil
}

// look finds out what name is; false means that it is left out.
func (p *packing) look(t *beneath.Tree, name string, it *item) (bool, error) {
	clean, err := cleanName(name)
	if err != nil {
		return false, err
	}
	it.name = clean
	if err := t.Lstat(clean, &it.st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			p.warn("File ignored: %v", err)
			return false, nil
		}
		return false, err
	}
	switch it.st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		return true, nil
	default:
		p.warn("File ignored: %s", clean)
		return false, nil
	}
}

// planBig sends a big file block by block.
func (p *packing) planBig(ctx context.Context, t *beneath.Tree, it item) error {
	fd, err := t.OpenSame(it.name, &it.st)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			p.warn("File ignored: %v", err)
			return nil
		}
		return err
	}
	big := &bigFile{item: it, fd: fd}
	big.store = !worthwhile(fd, it.st.Size)
	for off := int64(0); off < it.st.Size; off += p.blockSize {
		one := p.parcel()
		one.big, one.off, one.last = big, off, off+p.blockSize >= it.st.Size
		if !p.send(ctx, one) {
			if off == 0 {
				big.close() // nobody else knows of it
			}
			return nil
		}
	}
	return nil
}

// grow returns b with room for n bytes, its length n.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
