package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
)

// Follower reads a spool's bytes and waits for more until the End record. While it exists the
// runner counts as reading (see "The cap"). Not safe for concurrent use.
type Follower struct {
	s    *Spool
	off  int64
	stop func() bool
	done bool
	ctx  context.Context //nolint:containedctx // a Follower is one request's
}

// Follow returns a follower that begins at offset from, which must be a record's. The caller closes
// it; it ends with ctx.
func (s *Spool) Follow(ctx context.Context, from int64) (*Follower, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, os.ErrClosed
	case from < 0 || len(s.head) > 0 && from < s.head[0].start:
		return nil, fmt.Errorf("read from %d: %w", from, ErrTrimmed)
	}
	s.followers++
	s.promote(false)
	if from > s.end {
		s.followers--
		s.changed.Broadcast()
		return nil, fmt.Errorf("read from %d: %w", from, ErrBeyond)
	}
	s.changed.Broadcast()
	f := &Follower{s: s, off: from, ctx: ctx}
	f.stop = context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	return f, nil
}

// Close detaches the follower.
func (f *Follower) Close() error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if !f.done {
		f.done = true
		f.s.followers--
		f.stop()
		f.s.changed.Broadcast()
	}
	return nil
}

// Read reads what there is, waits when there is nothing, and returns io.EOF behind the End record.
func (f *Follower) Read(p []byte) (int, error) {
	g, pos, n, err := f.wait(int64(len(p)))
	if err != nil || n == 0 {
		return 0, err
	}
	if g.mem != nil {
		copy(p[:n], g.mem[pos:])
	} else if k, err := g.file.ReadAt(p[:n], pos); int64(k) < n {
		if errors.Is(err, os.ErrClosed) {
			err = ErrTrimmed // acknowledged while it was read: not by this reader
		}
		return 0, fmt.Errorf("read the spool at %d: %w", f.off, err)
	}
	f.off += n
	return int(n), nil
}

// wait finds the segment, the position in it and the length of what can be read now.
func (f *Follower) wait(most int64) (g *segment, pos, n int64, err error) {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for f.off == s.end && !s.finished && !s.closed && !f.done && f.ctx.Err() == nil {
		s.changed.Wait()
	}
	switch {
	case f.done || s.closed:
		return nil, 0, 0, os.ErrClosed
	case f.ctx.Err() != nil:
		return nil, 0, 0, context.Cause(f.ctx)
	case f.off == s.end:
		return nil, 0, 0, io.EOF
	case f.off < s.head[0].start:
		return nil, 0, 0, ErrTrimmed
	}
	i := sort.Search(len(s.head), func(i int) bool { return s.head[i].end() > f.off })
	g = s.head[i]
	pos = f.off - g.start
	return g, pos, min(most, g.size-pos), nil
}
