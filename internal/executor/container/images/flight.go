package images

import (
	"context"
	"errors"
	"sync"
)

// flights lets jobs that want the same image with the same login at the same time share one pull.
type flights struct {
	mu   sync.Mutex
	open map[string]*flight
}

type flight struct {
	tally tally
	done  chan struct{}
	err   error // valid when done is closed

	waiters int
	stop    context.CancelCauseFunc
}

var errUnwanted = errors.New("nobody waits for the pull any more")

// join returns the pull of key, begun if nobody else has. leave has to be called; the last one to leave
// ends a pull that is still going on, and waits for its end.
func (f *flights) join(ctx context.Context, key string, pull func(context.Context, *tally) error) (one *flight, leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one = f.open[key]
	if one == nil {
		pulling, stop := context.WithCancelCause(context.WithoutCancel(ctx))
		one = &flight{done: make(chan struct{}), stop: stop}
		if f.open == nil {
			f.open = map[string]*flight{}
		}
		f.open[key] = one
		go func() {
			err := pull(pulling, &one.tally)
			f.mu.Lock()
			if f.open[key] == one {
				delete(f.open, key)
			}
			f.mu.Unlock()
			one.err = err
			close(one.done)
			stop(nil)
		}()
	}
	one.waiters++
	return one, func() { f.leave(key, one) }
}

func (f *flights) leave(key string, one *flight) {
	f.mu.Lock()
	one.waiters--
	last := one.waiters == 0
	if last && f.open[key] == one {
		delete(f.open, key) // who comes now begins anew
	}
	f.mu.Unlock()
	if last {
		one.stop(errUnwanted)
		<-one.done
	}
}
