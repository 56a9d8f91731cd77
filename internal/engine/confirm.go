package engine

import (
	"context"
	"errors"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
)

// confirmWithin is how long a job may stand in `pending` before the coordinator gives it to somebody
// else. Source: GitLab's two-phase commit, two minutes.
const confirmWithin = 2 * time.Minute

// confirm reports the job as running: only a 200 makes it ours. A job that was confirmed before the
// runner was restarted is not asked about again; its next update says whether it is still ours.
func (x *execution) confirm(ctx context.Context) error {
	if x.trace.Has("running") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		res, err := x.api.Update(ctx, gitlab.Update{State: string(job.Running)})
		switch {
		case err == nil && stopsNow(res.Status):
			return errGone
		case err == nil:
			return nil
		case errors.Is(err, gitlab.ErrJobGone), errors.Is(err, gitlab.ErrConflict):
			return errGone
		}
		if !sleep(ctx, wait) {
			if errors.Is(context.Cause(ctx), ErrDetach) || errors.Is(context.Cause(ctx), ErrShutdown) {
				return context.Cause(ctx)
			}
			x.log.Warn("Job could not be reported as running, so the coordinator gives it to another runner", "error", err)
			return errGone
		}
	}
}

// stopsNow reports whether the coordinator has ended the job.
func stopsNow(status string) bool {
	switch status {
	case gitlab.StatusCanceled, gitlab.StatusFailed, gitlab.StatusSuccess:
		return true
	}
	return false
}

// sleep waits for d and reports whether ctx lived that long.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
