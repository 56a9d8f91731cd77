package trace

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

// Options say how a job's log is made. All but Dir, Logger and Clock must be the same whenever a
// directory is opened again.
type Options struct {
	Dir        string   // the job's own directory, made (0700) when missing; the trace's files are 0600
	Secrets    []string // values to mask
	Prefixes   []string // token prefixes beyond GitLab's (features.token_mask_prefixes)
	FewTokens  bool     // FF_MASK_ALL_DEFAULT_TOKENS is off: of GitLab's prefixes only glpat-
	Timestamps bool     // FF_TIMESTAMPS
	Sections   bool     // features.trace_sections
	Limit      int64    // output_limit in bytes; 0 means DefaultLimit
	Logger     *slog.Logger
	Clock      Clock // nil is the real one

	fault fault
	every int64 // bytes between checkpoints of a busy stage; 0 means checkpointBytes
}

// Trace is the log of one job in the making. Its methods may be called concurrently, but only one
// Render and one Upload at a time.
type Trace struct {
	opts    Options
	log     *slog.Logger
	clock   Clock
	outline *outline
	file    *logFile

	mu        sync.Mutex // all below
	c         *composer
	at        position
	in        ack           // the stage in hand and the offset that a checkpoint covers
	fresh     int64         // bytes of spools rendered since the last checkpoint
	seen      view          // what others may see
	changed   chan struct{} // closed and replaced when seen changes
	trailer   []byte        // the log's end when the file could not take it
	writers   []*LineWriter
	acks      ackQueue
	lost      error         // of the disk: the log ends early
	dirty     chan struct{} // capacity 1: rendered text waits for a checkpoint
	waiting   atomic.Bool   // dirty has been signalled and not yet heeded
	rendering bool
	patched   bool  // see patch
	anew      bool  // there was no checkpoint
	before    int64 // see behind
}

// view is what a checkpoint covers.
type view struct {
	size     int64
	crc      uint32
	complete bool
}

// Open makes the trace of a job or goes on with the one in Dir, whenever the process that made it
// was killed. A checkpoint that is damaged or was made with other options is not used: the log is
// made again from the beginning, as far as the spools are still kept, behind what the coordinator has
// already (see patch). The caller closes the Trace.
func Open(o Options) (*Trace, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the job's directory: %w", err)
	}
	if o.every == 0 {
		o.every = checkpointBytes
	}
	t := &Trace{opts: o, log: o.Logger, clock: o.Clock, changed: make(chan struct{}), dirty: make(chan struct{}, 1)}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.clock == nil {
		t.clock = wallClock{}
	}
	var err error
	if t.outline, err = openOutline(o.Dir, o.fault); err != nil {
		return nil, err
	}
	if t.file, err = openLog(o.Dir, o.fault); err == nil {
		err = t.resume()
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// resume goes back to the checkpoint or, without one that can be used, to the beginning.
func (t *Trace) resume() error {
	if a, known := t.loadSent(); known {
		t.before = a.behind
	}
	k, err := loadCheckpoint(t.opts.Dir)
	if err == nil {
		t.c = newComposer(t.opts, newLimiter(t.file, t.opts.Limit))
		err = t.c.resume(k)
	}
	if err == nil && k.At.Entry > len(t.outline.entries) {
		err = errDamaged
	}
	if err == nil {
		err = t.file.matches(k.Size, k.CRC)
	}
	if err == nil {
		t.at, t.patched = k.At, k.Patched
	} else {
		if !errors.Is(err, os.ErrNotExist) {
			t.log.Warn("the job's log is made anew: its checkpoint cannot be used", "error", err)
		}
		t.anew = true
		t.c = newComposer(t.opts, newLimiter(t.file, t.opts.Limit))
		if err := t.patch(); err != nil {
			return err
		}
	}
	t.seen = view{t.c.out.size, t.c.out.crc, t.at.Done}
	for i := range t.at.Entry {
		t.outline.rendered(i)
	}
	return t.file.cut(t.c.out.size)
}

// patch leaves the beginning of the log that the coordinator has, or may have, as it is, where the files that
// say how it was made are lost: a machine that loses power keeps what was synced, and these are not. What is
// made anew is added behind it, or a reader would not see how the job ended.
func (t *Trace) patch() error {
	out := t.c.out
	a, _ := t.loadSent()
	st, err := t.file.f.Stat()
	if err != nil {
		return fmt.Errorf("mend the job's log: %w", err)
	}
	sent := max(a.sent, min(a.tried, st.Size()))
	if sent <= 0 || sent > out.head() {
		return nil
	}
	if st.Size() < sent {
		if err := t.file.f.Truncate(sent); err != nil {
			return fmt.Errorf("mend the job's log: %w", err)
		}
	}
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, io.NewSectionReader(t.file.f, 0, sent)); err != nil {
		return fmt.Errorf("read the job's log: %w", err)
	}
	out.total, out.size, out.crc = sent, sent, sum.Sum32()
	t.patched, t.c.midline = true, true
	t.c.now = t.clock.Now().UnixMicro()
	t.c.notice(yellow, madeAnew)
	return nil
}

const madeAnew = "WARNING: the runner lost its place in this log: the files behind it were damaged (the machine may have lost power) or are of another version. From here on it is made anew, as far as its parts are still there."

// Whole reports whether Size's checksum is one of what the coordinator was sent; that of a log that was
// damaged and made anew need not be.
func (t *Trace) Whole() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.patched && t.before == 0
}

// matches reports whether the file begins with size bytes of that checksum.
func (l *logFile) matches(size int64, crc uint32) error {
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, io.NewSectionReader(l.f, 0, size))
	if err != nil {
		return fmt.Errorf("read the job's log: %w", err)
	}
	if n != size || sum.Sum32() != crc {
		return fmt.Errorf("%w: the log is not what it says", errDamaged)
	}
	return nil
}

// Close closes the files. Render, Upload and readers must have returned.
func (t *Trace) Close() error {
	var errs []error
	if t.outline != nil {
		errs = append(errs, t.outline.file.Close())
	}
	if t.file != nil {
		errs = append(errs, t.file.f.Close())
	}
	return errors.Join(errs...)
}

// Append adds an entry to the outline; it is on file before it can be shown. An entry whose key is
// there already is not added. After Close it fails with ErrClosed, unless it is
// an Abandon. When the file cannot be written
// added may be true beside an error: this process shows the entry, a later one will not know it.
func (t *Trace) Append(e Entry) (added bool, err error) {
	if e.Op == Close {
		t.mu.Lock()
		writers := t.writers
		t.mu.Unlock()
		for _, w := range writers {
			err = errors.Join(err, w.Close())
		}
		if errors.Is(err, ErrClosed) {
			err = nil
		}
	}
	if e.Op == Abandon {
		t.mu.Lock()
		t.checkpoint() // what has been read of the spool cannot be read again
		t.mu.Unlock()
	}
	added, aerr := t.outline.append(e)
	return added, errors.Join(err, aerr)
}

// Has reports whether the outline has an entry with key.
func (t *Trace) Has(key string) bool { return t.outline.has(key) }

// Awaited returns the entries of stages whose output Render has not seen the end of, in their order.
func (t *Trace) Awaited() []Entry { return t.outline.awaited() }

// Abandon says that nothing more can be had of a stage's spool. Where it is included the log goes on
// with what has been read of it and then with message, which says why in words for the job's author.
func (t *Trace) Abandon(place, stage, message string) error {
	_, err := t.Append(Entry{
		Key: "abandon/" + place + "/" + stage, Time: t.clock.Now().UnixMicro(),
		Op: Abandon, Place: place, Stage: stage, Text: message,
	})
	return err
}

// Size returns how much of the log there is, its CRC-32 (IEEE) and whether that is all of it.
// What it counts is on file and never changes again.
func (t *Trace) Size() (size int64, crc uint32, complete bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen.size, t.seen.crc, t.seen.complete
}

// Changed returns a channel that is closed when Size changes; get it before Size.
func (t *Trace) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// ReadAt reads of what Size counts. It returns io.EOF at its end, for now or for good.
func (t *Trace) ReadAt(p []byte, off int64) (int, error) { return t.readAt(t.file.f, p, off) }

func (t *Trace) readAt(file io.ReaderAt, p []byte, off int64) (int, error) {
	t.mu.Lock()
	size, trailer := t.seen.size, t.trailer
	t.mu.Unlock()
	if off < 0 {
		return 0, fmt.Errorf("read the job's log at %d: %w", off, os.ErrInvalid)
	}
	short := off+int64(len(p)) > size
	if short {
		p = p[:max(size-off, 0)]
	}
	n := 0
	if filed := size - int64(len(trailer)); off < filed {
		var err error
		if n, err = file.ReadAt(p[:min(int64(len(p)), filed-off)], off); err != nil {
			return n, fmt.Errorf("read the job's log: %w", err)
		}
	}
	if n < len(p) {
		n += copy(p[n:], trailer[off+int64(n)-(size-int64(len(trailer))):])
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// Reader returns a reader of the whole log from its beginning, which waits for more until the log is
// complete or ctx ends.
func (t *Trace) Reader(ctx context.Context) io.Reader {
	return &follower{ctx: ctx, t: t, file: t.file.f}
}

type follower struct {
	ctx  context.Context //nolint:containedctx // a reader has no other way to take one
	t    *Trace
	off  int64
	file io.ReaderAt
}

func (f *follower) Read(p []byte) (int, error) {
	for {
		changed := f.t.Changed()
		size, _, complete := f.t.Size()
		switch {
		case f.off < size:
			n, err := f.t.readAt(f.file, p[:min(int64(len(p)), size-f.off)], f.off)
			f.off += int64(n)
			return n, err
		case complete:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-f.ctx.Done():
			return 0, context.Cause(f.ctx)
		}
	}
}
