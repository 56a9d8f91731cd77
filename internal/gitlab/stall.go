package gitlab

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

var errStalled = errors.New("no byte moved for too long")

// guard ends a transfer in which no byte moved for a while.
type guard struct {
	timer *time.Timer
	limit time.Duration
	fired atomic.Bool
}

func newGuard(limit time.Duration, cancel context.CancelCauseFunc) *guard {
	g := &guard{limit: limit}
	g.timer = time.AfterFunc(limit, func() {
		g.fired.Store(true)
		cancel(errStalled)
	})
	return g
}

// explain returns errStalled if that is what err comes of.
func (g *guard) explain(err error) error {
	if g.fired.Load() {
		return errStalled
	}
	return err
}

func (g *guard) moved() { g.timer.Reset(g.limit) }
func (g *guard) stop()  { g.timer.Stop() }

// guardedBody is a body whose every Read tells its guard. After its end the guard is at rest: what
// comes then (the answer to an upload) has a limit of its own.
type guardedBody struct {
	io.Reader
	io.Closer
	guard  *guard
	cancel context.CancelCauseFunc // of the request, when the body is all that is left of it
}

// Read reads, and reports what moved.
func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.guard.stop()
		return n, b.guard.explain(err)
	}
	b.guard.moved()
	return n, nil
}

// Close closes the source and releases the request.
func (b *guardedBody) Close() error {
	b.guard.stop()
	err := b.Closer.Close()
	if b.cancel != nil {
		b.cancel(nil)
	}
	return err
}
