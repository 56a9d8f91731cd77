package engine

import (
	"context"
	"errors"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
)

// confirmWithin is how long a coordinator is asked that answers and does not say whether the job is ours.
const confirmWithin = 2 * time.Minute

// confirm reports the job as running: only a 200 makes it ours. It returns the job's state at the coordinator,
// which may ask to stop at once. A job that was confirmed before the runner was restarted is not asked about again;
// its next update says whether it is still ours.
//
// A coordinator that cannot be reached is asked for as long as an outage may last: one without two-phase
// commits counts the job as running, and GitLab, when a job has stood in pending for two minutes, fails it and
// makes a new one, so that the question is always answered truly. Source: Ci::RetryWaitingJobService.
func (x *execution) confirm(ctx context.Context) (status string, err error) {
	if x.trace.Has("running") {
		return "", nil
	}
	begun := time.Now()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 15*time.Second) {
		res, err := x.api.Update(ctx, gitlab.Update{State: string(job.Running)})
		switch {
		case err == nil && stopsNow(res.Status):
			x.log.Info("Job was ended by the coordinator before it began", "status", res.Status)
			return "", errGone
		case err == nil:
			return res.Status, nil
		case errors.Is(err, gitlab.ErrJobGone), errors.Is(err, gitlab.ErrConflict):
			x.log.Info("Job was ended by the coordinator, or given to another runner, before it began", "error", err)
			return "", errGone
		}
		limit := confirmWithin
		if gitlab.Retryable(err) {
			limit = outage
		}
		if time.Since(begun) > limit && cause(ctx) == nil {
			x.log.Warn("Job could not be reported as running, so it is not begun; the coordinator fails it or gives it to another runner", "error", err)
			return "", errGone
		}
		if !sleep(ctx, max(wait, retryAfter(err))) {
			return "", context.Cause(ctx)
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
