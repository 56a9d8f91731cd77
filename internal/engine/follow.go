package engine

import (
	"context"
	"errors"
	"io"

	"gitlab.com/skerry/skerry/internal/job"
)

// Follower reads a job's log as the coordinator gets it. It is for one goroutine.
type Follower struct {
	x    *execution
	r    io.ReadCloser
	stop context.CancelCauseFunc
}

// Follow begins to read the log of a job, which id names as for Terminal, at byte from; or, with tail >= 0, at its last tail
// lines as they are now. It returns where it begins. The caller closes the Follower.
func (e *Engine) Follow(ctx context.Context, id string, from int64, tail int) (*Follower, int64, error) {
	x, err := e.live.find(id)
	if err != nil {
		return nil, 0, err
	}
	if tail >= 0 {
		if from, err = x.trace.Tail(tail); err != nil {
			return nil, 0, err
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	r, err := x.trace.Follow(ctx, from)
	if err != nil {
		stop(nil)
		return nil, 0, err
	}
	go func() {
		select {
		case <-x.view.gone:
			stop(ErrDetach)
		case <-ctx.Done():
		}
	}()
	return &Follower{x: x, r: r, stop: stop}, from, nil
}

// Read returns io.EOF when the log is complete, and ErrDetach when this process leaves the job to the next one.
func (f *Follower) Read(p []byte) (int, error) { return f.r.Read(p) }

// Result waits for the job's result, after Read has returned io.EOF.
func (f *Follower) Result(ctx context.Context) (job.Result, error) {
	select {
	case <-f.x.view.ended:
	case <-f.x.view.gone:
		if r := f.x.show().Result; r == nil {
			return job.Result{}, errors.New("the coordinator has ended the job or given it to another runner")
		}
	case <-ctx.Done():
		return job.Result{}, context.Cause(ctx)
	}
	return *f.x.show().Result, nil
}

// Close lets the log go.
func (f *Follower) Close() error {
	f.stop(nil)
	return f.r.Close()
}
