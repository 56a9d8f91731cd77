package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
)

// Spools is where Render gets the stages' output from.
type Spools interface {
	// OpenSpool streams the encoded records of a stage's spool from offset from on, as they come, until
	// the End record. Reads end with ctx. A *TrimmedError says that the offset is not kept any more. Any
	// other error is tried again, after 100 ms at first and 5 s at last: for a stage that has not begun
	// it should wait instead of failing.
	OpenSpool(ctx context.Context, place, stage string, from int64) (io.ReadCloser, error)
	// AckSpool says that records before offset to will not be asked for again. Errors are only logged.
	AckSpool(ctx context.Context, place, stage string, to int64) error
}

// TrimmedError is a spool that does not go back as far as it was asked to.
type TrimmedError struct {
	First int64 // the first offset that is kept; negative when that is not known
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("the spool begins at offset %d", e.First)
}

const (
	checkpointBytes = 4 << 20                // of a spool, or of the log, between checkpoints of a busy stage
	checkpointPause = 250 * time.Millisecond // between checkpoints of a quiet one
	firstRetry      = 100 * time.Millisecond
	lastRetry       = 5 * time.Second
)

var errRendering = errors.New("the job's log is being rendered already")

// Render makes the log from the outline and the spools until the Close entry has been rendered and
// the file is complete, and returns nil then. A spool that breaks is opened again behind its last
// record, with growing pauses, until ctx ends or the spool is abandoned. It returns the cause of
// ctx's end. A disk that is full is no error: the log says so at its end.
func (t *Trace) Render(ctx context.Context, s Spools) error {
	t.mu.Lock()
	if t.rendering {
		t.mu.Unlock()
		return errRendering
	}
	t.rendering = true
	t.mu.Unlock()
	quiet, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { t.keepCurrent(quiet) })
	wg.Go(func() { t.sendAcks(quiet, s) })
	err := t.render(ctx, s)
	stop()
	wg.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.checkpoint() // as far as it came
	}
	t.rendering = false
	return err
}

func (t *Trace) render(ctx context.Context, s Spools) error {
	for !t.at.Done {
		e, ok, more := t.outline.entry(t.at.Entry) // only this goroutine changes at while it renders
		if !ok {
			select {
			case <-more:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch e.Op {
		case Include:
			if err := t.include(ctx, s, e); err != nil {
				return err
			}
		case Close:
			t.complete(e)
		default:
			t.mu.Lock()
			t.c.entry(e)
			t.next()
			t.mu.Unlock()
			t.touch()
		}
	}
	return nil
}

// next goes to the following entry.
func (t *Trace) next() {
	t.outline.rendered(t.at.Entry)
	t.at = position{Entry: t.at.Entry + 1}
}

// touch says that there is something for keepCurrent to do.
func (t *Trace) touch() {
	if !t.waiting.Load() && !t.waiting.Swap(true) {
		t.dirty <- struct{}{}
	}
}

// keepCurrent takes checkpoints of what is quiet, so that it is seen soon.
func (t *Trace) keepCurrent(ctx context.Context) {
	for {
		select {
		case <-t.dirty:
		case <-ctx.Done():
			return
		}
		t.waiting.Store(false)
		t.mu.Lock()
		t.checkpoint()
		t.mu.Unlock()
		select {
		case <-t.clock.After(checkpointPause):
		case <-ctx.Done():
			return
		}
	}
}

// include renders a stage's spool. It returns an error only when ctx ends.
func (t *Trace) include(ctx context.Context, s Spools, e Entry) error {
	t.mu.Lock()
	if !t.at.Inside {
		t.c.now = e.Time
		t.c.own.flush(false)
		t.c.begin()
		t.at.Inside = true
	}
	t.in = ack{e.Place, e.Stage, 0}
	t.mu.Unlock()
	pause := firstRetry
	for {
		before := t.at.Offset
		err := t.follow(ctx, s, e)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t.settled(e, err) {
			return nil
		}
		if t.at.Offset > before {
			pause = firstRetry
		}
		t.mu.Lock()
		if t.in.to > 0 {
			t.acks.put(t.in) // once more: it may have been lost with the connection
		}
		t.mu.Unlock()
		t.log.Debug("a stage's output broke off", "stage", e.Stage, "offset", t.at.Offset, "error", err)
		_, _, changed := t.outline.abandoned(e.Place, e.Stage)
		select {
		case <-t.clock.After(pause):
			pause = min(2*pause, lastRetry)
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// settled deals with the end of a spool's stream and reports whether the stage is over.
func (t *Trace) settled(e Entry, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var cut *TrimmedError
	gone, abandoned, _ := t.outline.abandoned(e.Place, e.Stage)
	switch {
	case err == nil:
		t.at.Offset += spool.HeaderSize // the End record
	case errors.Is(err, spool.ErrCorrupt):
		t.c.notice(red, corrupt(t.at.Offset))
	case errors.As(err, &cut) && cut.First > t.at.Offset:
		t.c.notice(yellow, trimmed(cut.First-t.at.Offset))
		t.at.Offset = cut.First
		return false
	case errors.As(err, &cut) && !abandoned:
		t.c.notice(yellow, trimmed(-1))
	case abandoned:
		t.c.abandon(gone)
	default:
		return false
	}
	t.c.end()
	t.in.to = t.at.Offset
	t.next()
	t.checkpoint()
	t.acks.put(t.in)
	return true
}

// follow renders records from one stream of a spool. It returns nil at the End record.
func (t *Trace) follow(ctx context.Context, s Spools, e Entry) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer cancel()
		for {
			_, gone, changed := t.outline.abandoned(e.Place, e.Stage)
			if gone {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	r, err := s.OpenSpool(ctx, e.Place, e.Stage, t.at.Offset)
	if err != nil {
		return fmt.Errorf("open the output of stage %s: %w", e.Stage, err)
	}
	defer r.Close()
	d := spool.NewDecoder(r, t.at.Offset)
	for {
		rec, err := d.Next()
		if err != nil {
			return fmt.Errorf("read the output of stage %s: %w", e.Stage, err)
		}
		if t.take(rec) {
			return nil
		}
	}
}

// take renders one record and reports whether it was the last.
func (t *Trace) take(rec spool.Record) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rec.Stream == spool.End {
		return true // and the offset stays: a checkpoint behind it would wait for what never comes
	}
	t.at.Offset = rec.End()
	t.c.record(rec)
	t.fresh += rec.End() - rec.Offset
	if t.fresh >= t.opts.every || t.c.out.total-t.seen.size >= t.opts.every && t.c.out.total == t.c.out.size {
		t.checkpoint()
	} else {
		t.touch()
	}
	return false
}

// complete renders the end of the log.
func (t *Trace) complete(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.c.finish(e)
	t.next()
	t.at.Done = true
	t.checkpoint()
}

// checkpoint writes what has been rendered and makes it visible. The caller holds mu.
func (t *Trace) checkpoint() {
	t.c.flush()
	t.fresh = 0
	if t.lost == nil {
		t.lost = t.save()
		if t.lost != nil {
			t.log.Error("the job's log ends early: its files cannot be written", "error", t.lost)
		}
	}
	if t.lost != nil {
		t.endEarly()
	}
	if t.at.Inside && t.at.Offset > t.in.to {
		t.in.to = t.at.Offset
		t.acks.put(t.in)
	}
	seen := view{t.c.out.size + int64(len(t.trailer)), t.c.out.crc, t.at.Done}
	if len(t.trailer) > 0 {
		seen.crc = t.trailerCRC()
	}
	if seen != t.seen {
		t.seen = seen
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

func (t *Trace) save() error {
	if t.c.out.err != nil {
		return t.c.out.err
	}
	k := t.c.snapshot(t.at)
	k.Patched = t.patched
	b, err := k.encode()
	if err != nil {
		return err
	}
	return replace(t.opts.Dir, checkpointFile, b, t.opts.fault)
}
