package archive

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/ziprecord"
)

const (
	smallEntry = 256 << 10 // content up to this size is extracted in memory
	unitFiles  = 64        // small entries that a worker takes at once
)

// zipUnit is what a worker extracts at once.
type zipUnit []zipJob

type zipJob struct {
	f *zip.File
	e entry
}

// zipRun is one extraction of a zip.
type zipRun struct {
	r    io.ReaderAt
	size int64
	t    *target
}

func extractZip(ctx context.Context, r io.ReaderAt, size int64, root *os.Root, o Options) (Stats, error) {
	run := &zipRun{r: r, size: size, t: &target{root: root, o: o}}
	zr, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are judged by cleanName
		return Stats{}, fmt.Errorf("read zip: %w", err)
	}
	p, err := run.t.placer()
	if err != nil {
		return Stats{}, err
	}
	defer p.close()
	units, err := run.plan(ctx, p, zr.File)
	if err == nil {
		err = run.extract(ctx, units)
	}
	if err == nil {
		err = p.finishAll()
	}
	return run.t.stats(), err
}

// plan judges all entries before anything is written, then makes the directories.
func (z *zipRun) plan(ctx context.Context, p *placer, files []*zip.File) ([]zipUnit, error) {
	jobs, err := z.judge(files)
	if err != nil {
		return nil, err
	}
	var units, large []zipUnit
	var one zipUnit
	sum := uint64(0)
	dec := newZipDecoder()
	defer dec.close()
	for _, j := range jobs {
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case j.e.mode.IsDir():
			err = p.addDir(j.e)
		case j.e.mode&fs.ModeSymlink != 0:
			var target []byte
			if target, err = z.load(dec, j.f, unix.PathMax); err == nil {
				j.e.link = string(target)
				p.addLink(j.e)
			}
		case j.f.UncompressedSize64 > smallEntry || j.f.CompressedSize64 > smallEntry:
			large = append(large, zipUnit{j})
		default:
			if len(one) == unitFiles || sum > smallEntry {
				units, one, sum = append(units, one), nil, 0
			}
			one = append(one, j)
			sum += j.f.CompressedSize64
		}
		if err != nil {
			return nil, err
		}
	}
	if len(one) > 0 {
		units = append(units, one)
	}
	return append(large, units...), nil // what takes long comes first
}

// judge refuses bad archives and drops what is not to be extracted.
func (z *zipRun) judge(files []*zip.File) ([]zipJob, error) {
	if len(files) > maxEntries {
		return nil, fmt.Errorf("the archive has %d entries: %w", len(files), ErrTooLarge)
	}
	last := make(map[string]int, len(files))
	jobs := make([]zipJob, 0, len(files))
	content := uint64(0)
	for _, f := range files {
		name, err := cleanName(f.Name)
		if err != nil {
			return nil, err
		}
		mode := f.Mode()
		switch mode.Type() {
		case 0, fs.ModeDir, fs.ModeSymlink:
		default:
			z.t.warn("File ignored: %q", f.Name)
			continue
		}
		if err := z.sane(f); err != nil {
			return nil, err
		}
		if mode.IsRegular() {
			content += f.UncompressedSize64
			if limit := z.t.o.MaxBytes; limit > 0 && content > uint64(limit) {
				return nil, fmt.Errorf("the archive's content is larger than %d bytes: %w", limit, ErrTooLarge)
			}
		}
		j := zipJob{f: f, e: zipMeta(f, name, mode)}
		if i, twice := last[name]; twice {
			jobs[i] = j
			continue
		}
		last[name] = len(jobs)
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// sane refuses entries that cannot be extracted.
func (z *zipRun) sane(f *zip.File) error {
	switch {
	case f.Flags&0x1 != 0:
		return fmt.Errorf("entry %q is encrypted, which is not supported", f.Name)
	case f.CompressedSize64 > uint64(z.size), f.UncompressedSize64 > 1<<60:
		return fmt.Errorf("entry %q: %w", f.Name, zip.ErrFormat)
	}
	switch f.Method {
	case ziprecord.Store, ziprecord.Deflate, ziprecord.Zstd:
		return nil
	default:
		return fmt.Errorf("entry %q: compression method %d: %w", f.Name, f.Method, zip.ErrAlgorithm)
	}
}

func zipMeta(f *zip.File, name string, mode fs.FileMode) entry {
	e := entry{name: name, mode: mode}
	if e.perm() == 0 { // written by something that knows no permissions
		e.mode |= 0o644
		if mode.IsDir() {
			e.mode |= 0o755
		}
	}
	e.mtime = unix.NsecToTimespec(f.Modified.UnixNano())
	if f.Modified.IsZero() {
		e.mtime = unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	e.uid, e.gid, e.owned = zipOwner(f.Extra)
	return e
}

// zipOwner finds the owner in an entry's extra fields.
func zipOwner(extra []byte) (uid, gid int, ok bool) {
	le := binary.LittleEndian
	for len(extra) >= 4 {
		kind, size := le.Uint16(extra), int(le.Uint16(extra[2:]))
		extra = extra[4:]
		if size > len(extra) {
			return 0, 0, false
		}
		if b := extra[:size]; kind == ziprecord.ExtraOwner && size == 11 && b[0] == 1 && b[1] == 4 && b[6] == 4 {
			return int(le.Uint32(b[2:])), int(le.Uint32(b[7:])), true
		}
		extra = extra[size:]
	}
	return 0, 0, false
}

// extract lets workers extract the units.
func (z *zipRun) extract(ctx context.Context, units []zipUnit) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan zipUnit, len(units))
	for _, u := range units {
		queue <- u
	}
	close(queue)
	var wg sync.WaitGroup
	for range min(z.t.o.workers(), len(units)) {
		wg.Go(func() {
			if err := z.work(ctx, queue); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (z *zipRun) work(ctx context.Context, queue <-chan zipUnit) error {
	p, err := z.t.placer()
	if err != nil {
		return err
	}
	defer p.close()
	dec := newZipDecoder()
	defer dec.close()
	for unit := range queue {
		for i := range unit {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := z.file(ctx, p, dec, &unit[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (z *zipRun) file(ctx context.Context, p *placer, dec *zipDecoder, j *zipJob) error {
	if j.f.UncompressedSize64 > smallEntry || j.f.CompressedSize64 > smallEntry {
		return z.large(ctx, p, dec, j)
	}
	content, err := z.load(dec, j.f, smallEntry)
	if err != nil {
		return err
	}
	if err := p.spend(int64(len(content))); err != nil {
		return err
	}
	return p.put(&j.e, content)
}

// section finds an entry's content.
func (z *zipRun) section(f *zip.File) (int64, error) {
	off, err := f.DataOffset()
	if err != nil {
		return 0, fmt.Errorf("entry %q: %w", f.Name, err)
	}
	if off > z.size-int64(f.CompressedSize64) {
		return 0, fmt.Errorf("entry %q: %w", f.Name, io.ErrUnexpectedEOF)
	}
	return off, nil
}

// load returns the content of an entry of at most limit bytes, checked; it is dec's until its next use.
func (z *zipRun) load(dec *zipDecoder, f *zip.File, limit uint64) ([]byte, error) {
	if f.UncompressedSize64 > limit || f.CompressedSize64 > smallEntry {
		return nil, fmt.Errorf("entry %q is too long", f.Name)
	}
	off, err := z.section(f)
	if err != nil {
		return nil, err
	}
	dec.in = grow(dec.in, int(f.CompressedSize64))
	if n, err := z.r.ReadAt(dec.in, off); n < len(dec.in) {
		return nil, fmt.Errorf("entry %q: %w", f.Name, err)
	}
	content, err := dec.whole(f.Method)
	if err != nil {
		return nil, fmt.Errorf("entry %q: %w", f.Name, err)
	}
	if uint64(len(content)) != f.UncompressedSize64 || crc32.ChecksumIEEE(content) != f.CRC32 {
		return nil, fmt.Errorf("entry %q: %w", f.Name, zip.ErrChecksum)
	}
	return content, nil
}

// large streams an entry into its file.
func (z *zipRun) large(ctx context.Context, p *placer, dec *zipDecoder, j *zipJob) error {
	off, err := z.section(j.f)
	if err != nil {
		return err
	}
	fd, err := p.tree.Create(j.e.name, j.e.perm())
	if err != nil {
		return err
	}
	in := io.NewSectionReader(z.r, off, int64(j.f.CompressedSize64))
	if err := dec.stream(ctx, p, fd, in, j); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("entry %q: %w", j.f.Name, err)
	}
	return p.finish(fd, &j.e)
}
