package gitlab

import (
	"context"
	"errors"
	"io"
	"time"
)

var errStalled = errors.New("no byte moved for too long")

// guard ends a transfer in which no byte moved for a while.
type guard struct {
	timer *time.Timer
	limit time.Duration
}

func newGuard(limit time.Duration, cancel context.CancelCauseFunc) *guard {
	return &guard{limit: limit, timer: time.AfterFunc(limit, func() { cancel(errStalled) })}
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
		return n, err
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

// stalled returns errStalled if that is why ctx ended, else err.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}
