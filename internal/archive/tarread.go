package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
	"gitlab.com/skerry/skerry/internal/archive/zstdframe"
)

// tarFile is a small file on its way to a worker.
type tarFile struct {
	e    entry
	data []byte
}

// tarRun is one extraction of a tar: this goroutine reads, workers write the small files.
type tarRun struct {
	t       *target
	own     *placer
	queues  []chan *tarFile
	pending sync.WaitGroup // small files that are not written yet
	seen    map[string]int // the number of the latest entry with a name
	count   int
	seed    maphash.Seed
	free    sync.Pool
	buf     []byte
}

func extractTar(ctx context.Context, r io.ReaderAt, size int64, root *os.Root, f Format, o Options) (Stats, error) {
	stream, done, err := tarStream(ctx, r, size, f, o.workers())
	if err != nil {
		return Stats{}, err
	}
	defer done()
	in := &endReader{r: stream}
	run := &tarRun{t: &target{root: root, o: o}, seen: make(map[string]int), seed: maphash.MakeSeed()}
	if run.own, err = run.t.placer(); err != nil {
		return Stats{}, err
	}
	defer run.own.close()
	err = run.extract(ctx, tar.NewReader(in))
	if err == nil && in.zeros < 2*tarBlock {
		err = fmt.Errorf("read tar: the archive is cut short: %w", io.ErrUnexpectedEOF)
	}
	if err == nil {
		run.dropReplaced()
		err = run.own.finishAll()
	}
	return run.t.stats(), err
}

// endReader remembers whether what was read ends in the zeros that end a tar: without them the rest of
// the archive is missing, which archive/tar does not mind.
type endReader struct {
	r     io.Reader
	zeros int // at the end of what was read, up to 2*tarBlock
}

func (e *endReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	last := p[max(0, n-2*tarBlock):n]
	if i := len(bytes.TrimRight(last, "\x00")); i > 0 {
		e.zeros = len(last) - i
	} else {
		e.zeros = min(e.zeros+len(last), 2*tarBlock)
	}
	return n, err
}

// tarStream decompresses.
func tarStream(ctx context.Context, r io.ReaderAt, size int64, f Format, n int) (io.Reader, func(), error) {
	if f == TarGzip {
		z, err := gunzip(bufio.NewReaderSize(io.NewSectionReader(r, 0, size), ioBuffer))
		return z, func() {}, err
	}
	z, err := zstdframe.NewReader(ctx, r, size, n)
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

func (x *tarRun) extract(ctx context.Context, tr *tar.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range x.t.o.workers() {
		queue := make(chan *tarFile, 64)
		x.queues = append(x.queues, queue)
		wg.Go(func() {
			if err := x.work(ctx, queue); err != nil {
				cancel(err)
			}
		})
	}
	err := x.read(ctx, tr)
	for _, queue := range x.queues {
		close(queue)
	}
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// work writes small files; after a failure it only lets them pass.
func (x *tarRun) work(ctx context.Context, queue <-chan *tarFile) (err error) {
	p, err := x.t.placer()
	if err == nil {
		defer p.close()
	}
	for f := range queue {
		if err == nil && ctx.Err() == nil {
			err = p.put(&f.e, f.data)
		}
		x.pending.Done()
		x.free.Put(f)
	}
	return err
}

// read goes through the archive.
func (x *tarRun) read(ctx context.Context, tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are judged by cleanName
			return fmt.Errorf("read tar: %w", err)
		}
		if err := x.entry(ctx, tr, h); err != nil {
			return err
		}
	}
}

func (x *tarRun) entry(ctx context.Context, tr *tar.Reader, h *tar.Header) error {
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if err := x.remember(name); err != nil {
		return err
	}
	e := entry{name: name, mode: h.FileInfo().Mode(), seq: x.count, uid: h.Uid, gid: h.Gid, owned: true}
	e.mtime = unix.NsecToTimespec(h.ModTime.UnixNano())
	switch h.Typeflag {
	case tar.TypeDir:
		return x.own.addDir(e)
	case tar.TypeSymlink:
		e.link = h.Linkname
		x.own.addLink(e)
		return nil
	case tar.TypeReg, tar.TypeGNUSparse:
		return x.regular(ctx, tr, e, h.Size)
	case tar.TypeLink:
		return fmt.Errorf("entry %q is a hard link to %q: %w", h.Name, h.Linkname, ErrUnsafe)
	default:
		x.t.warn("File ignored: %q", h.Name)
		return nil
	}
}

// remember makes the last of several entries with one name win: a file on its way with the same name
// is waited for, directories and links are sorted out by dropReplaced.
func (x *tarRun) remember(name string) error {
	if _, twice := x.seen[name]; twice {
		x.pending.Wait()
	}
	if x.count++; x.count > maxEntries {
		return fmt.Errorf("the archive has more than %d entries: %w", maxEntries, ErrTooLarge)
	}
	x.seen[name] = x.count
	return nil
}

// dropReplaced drops directories and links that a later entry of the same name replaces.
func (x *tarRun) dropReplaced() {
	replaced := func(e entry) bool { return x.seen[e.name] != e.seq }
	x.own.dirs = slices.DeleteFunc(x.own.dirs, replaced)
	x.own.links = slices.DeleteFunc(x.own.links, replaced)
}

func (x *tarRun) regular(ctx context.Context, tr *tar.Reader, e entry, size int64) error {
	if err := x.t.spend(size); err != nil {
		return err
	}
	if size > smallEntry {
		return x.large(ctx, tr, &e)
	}
	f, ok := x.free.Get().(*tarFile)
	if !ok {
		f = &tarFile{}
	}
	f.e, f.data = e, grow(f.data, int(size))
	if _, err := io.ReadFull(tr, f.data); err != nil {
		return fmt.Errorf("read tar: entry %q: %w", e.name, err)
	}
	x.pending.Add(1)
	// One directory's files go to one worker, which has it open.
	n := maphash.String(x.seed, path.Dir(e.name)) % uint64(len(x.queues))
	x.queues[n] <- f
	return nil
}

// large streams a big file into place.
func (x *tarRun) large(ctx context.Context, tr *tar.Reader, e *entry) error {
	fd, err := x.own.tree.Create(e.name, e.perm())
	if err != nil {
		return err
	}
	x.buf = grow(x.buf, ioBuffer)
	for {
		n, err := io.ReadFull(tr, x.buf)
		if n > 0 {
			if err := beneath.Write(fd, e.name, x.buf[:n]); err != nil {
				_ = unix.Close(fd)
				return err
			}
		}
		switch {
		case err == nil && ctx.Err() == nil:
			continue
		case err == nil:
			err = context.Cause(ctx)
		case errors.Is(err, io.EOF), n > 0 && errors.Is(err, io.ErrUnexpectedEOF) && complete(tr):
			return x.own.finish(fd, e)
		}
		_ = unix.Close(fd)
		return fmt.Errorf("read tar: entry %q: %w", e.name, err)
	}
}

// complete tells the end of an entry from that of a truncated archive.
func complete(tr *tar.Reader) bool {
	var more [1]byte
	_, err := tr.Read(more[:])
	return err == io.EOF
}
