package generations

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Offers says when images of jobs' own engines are copied for later jobs: a few at once, not often in a domain, less often where that has
// failed, and not any more when the runner ends. The zero value is ready. It is safe for concurrent use.
type Offers struct {
	mu    sync.Mutex
	busy  map[string]context.CancelCauseFunc // by key of the domain
	tried map[string]failed                  // what has failed the last time
	over  bool
}

// failed is how often in a row copying has failed, and when it did for the last time.
type failed struct {
	times int
	at    time.Time
}

const (
	// offersAtOnce is how many copies are made at once: they are beside the jobs that `concurrent` counts.
	offersAtOnce = 2
	// offerTime is how long one may take.
	offerTime = 10 * time.Minute
	// offerRests is how often the time until the next try is doubled at most.
	offerRests = 6
)

// ErrOver is why copying ends when the runner does.
var ErrOver = errors.New("the runner ends")

// ErrNothing is what came of it where nothing was to be copied: to find that out takes an engine.
var ErrNothing = errors.New("there is nothing new")

// Begin reports whether the images of a domain may be copied now. Then ctx is what that may take, and the caller calls end: whether it has tried, and what came of it.
func (o *Offers) Begin(ctx context.Context, key string, every time.Duration) (_ context.Context, end func(tried bool, err error), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, busy := o.busy[key]
	last, rests := o.tried[key]
	rests = rests && time.Since(last.at) < every<<min(last.times, offerRests)
	if o.over || busy || rests || len(o.busy) >= offersAtOnce {
		return ctx, nil, false
	}
	ctx, stop := context.WithTimeout(ctx, offerTime)
	ctx, cancel := context.WithCancelCause(ctx)
	if o.busy == nil {
		o.busy, o.tried = map[string]context.CancelCauseFunc{}, map[string]failed{}
	}
	o.busy[key] = cancel
	return ctx, func(tried bool, err error) {
		cancel(nil)
		stop()
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.busy, key)
		switch {
		case errors.Is(err, ErrNothing):
			o.tried[key] = failed{at: time.Now()}
		case err != nil:
			o.tried[key] = failed{times: last.times + 1, at: time.Now()}
		case tried:
			delete(o.tried, key)
		}
	}, true
}

// Close ends those that are being made, with ErrOver as the cause, and has no more begin. It may be called more than once.
func (o *Offers) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for _, cancel := range o.busy {
		cancel(ErrOver)
	}
}
