package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/trace"
)

// touchRate is how many updates a second all running jobs together may send to keep themselves alive
// and to notice cancellations.
const touchRate = 40

// maxTouch is the longest time between two updates of one job, unless the coordinator asks for more.
const maxTouch = 30 * time.Second

// touchEvery is the time between two updates of one job.
func (e *Engine) touchEvery() time.Duration {
	fair := time.Duration(e.running.value()) * time.Second / touchRate
	return max(e.o.Touch, min(fair, maxTouch))
}

// watch keeps the job alive at the coordinator, whether or not it writes anything, and acts on what
// the coordinator says of it. It returns when ctx ends.
func (x *execution) watch(ctx context.Context) {
	wait, failures := x.e.touchEvery(), 0
	for sleep(ctx, wait) {
		once, cancel := context.WithTimeout(ctx, 30*time.Second)
		res, err := x.api.Update(once, gitlab.Update{State: string(job.Running)})
		cancel()
		wait = x.e.touchEvery()
		switch {
		case err == nil:
			failures = 0
			x.observe(res.Status)
		case errors.Is(err, gitlab.ErrJobGone):
			x.gone(err)
			return
		default: // all jobs together must not keep a coordinator down that is in trouble
			wait = max(min(wait<<min(failures, 4), maxTouch), retryAfter(err))
			failures++
		}
	}
}

// observe acts on the job's state at the coordinator.
func (x *execution) observe(status string) {
	switch {
	case x.cancelWork == nil: // the work is over
	case status == gitlab.StatusCanceling:
		x.cancelScript(errCanceling)
	case stopsNow(status):
		x.log.Info("Job was ended by the coordinator", "status", status)
		x.cancelWork(errCanceled)
	}
}

func (x *execution) gone(err error) {
	x.log.Info("The coordinator has ended the job or given it to somebody else", "error", err)
	if x.cancelWork != nil {
		x.cancelWork(fmt.Errorf("%w: %w", errGone, err))
	}
}

// startUpload begins to send the log, from where it was left, while it grows. It ends when all of it has
// been accepted, when the job is gone, or with ctx; uploaded then holds its error.
func (x *execution) startUpload(ctx context.Context) {
	x.uploaded = make(chan error, 1)
	go func(done chan<- error) {
		err := x.trace.Upload(ctx, patcher{x}, trace.UploadOptions{OnStatus: x.observe})
		if errors.Is(err, trace.ErrGone) {
			x.gone(err)
		}
		done <- err
	}(x.uploaded)
}

// patcher gives the trace its way to the coordinator.
type patcher struct{ x *execution }

// PatchTrace implements trace.Patcher.
func (p patcher) PatchTrace(ctx context.Context, body []byte, start int64) (trace.Patched, error) {
	res, err := p.x.api.PatchTrace(ctx, body, start, p.x.debug)
	patched := trace.Patched{Offset: res.Offset, Interval: res.Interval, Status: res.Status}
	var failed *gitlab.Error
	switch {
	case err == nil:
		return patched, nil
	case errors.Is(err, gitlab.ErrRange):
		return patched, &trace.OffsetError{Offset: res.Offset}
	case errors.Is(err, gitlab.ErrJobGone):
		return patched, fmt.Errorf("%w: %w", trace.ErrGone, err)
	case errors.Is(err, gitlab.ErrTooLarge):
		return patched, fmt.Errorf("%w: %w", trace.ErrTooLarge, err)
	case errors.As(err, &failed) && failed.RetryAfter > 0:
		return patched, &later{error: err, after: failed.RetryAfter}
	default:
		return patched, err
	}
}

// later is an error with the time after which the coordinator wants to be asked again.
type later struct {
	error
	after time.Duration
}

// RetryAfter is read by trace.Upload.
func (l *later) RetryAfter() time.Duration { return l.after }

// Unwrap returns the cause.
func (l *later) Unwrap() error { return l.error }
