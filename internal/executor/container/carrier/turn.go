package carrier

import (
	"context"
	"sync"
)

// turn is a lock for what an engine may take minutes for: nobody waits for it longer than he wants to. The zero value is free.
type turn struct {
	once sync.Once
	free chan struct{} // holds one while nobody has the turn
}

func (t *turn) init() {
	t.once.Do(func() {
		t.free = make(chan struct{}, 1)
		t.free <- struct{}{}
	})
}

// take waits for the turn, which the caller gives back by leave; the error is the context's cause.
func (t *turn) take(ctx context.Context) error {
	t.init()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-t.free:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *turn) leave() { t.free <- struct{}{} }
