package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/trace"
)

const (
	// deliverFor is how long the final status is tried to be delivered: GitLab drops a job that it has
	// heard nothing of for an hour, but says so only when it can be reached again.
	deliverFor = 24 * time.Hour
	// idleAfter is how long the delivery may take before others get the job's slot.
	idleAfter = time.Minute
	// deliverOnStop is how long a runner that stops tries; the next process goes on with it.
	deliverOnStop = 25 * time.Second
	// resendLimit is how often the log is sent again whole because the coordinator's copy differs.
	resendLimit = 3
	// closeWithin is how long the removal of an environment may take.
	closeWithin = 2 * time.Minute
)

// deliver waits until the log is with the coordinator and then sends the final status until it is
// accepted, or the coordinator says that the job is not ours any more, and forgets the job.
func (x *execution) deliver(ctx, send context.Context) error {
	if x.holds.Idle != nil {
		defer time.AfterFunc(idleAfter, x.holds.Idle).Stop()
	}
	for attempt, wait := 1, 100*time.Millisecond; ; attempt++ {
		pause, err := x.attemptDelivery(send)
		switch {
		case err == nil && pause == 0:
			x.log.Info("Job finished", "state", x.rec.Result.State, "reason", x.rec.Result.Reason, "exit_code", x.rec.Result.ExitCode)
			return x.forget(ctx, "")
		case errors.Is(err, gitlab.ErrJobGone), errors.Is(err, gitlab.ErrConflict), errors.Is(err, trace.ErrGone), errors.Is(err, errGone):
			return x.forget(ctx, gone(err))
		case cause(send) != nil:
			return fmt.Errorf("the final status of job %d is delivered by the next runner process: %w", x.plan.Job.ID, cause(send))
		case err == nil:
			wait, attempt = pause, 0
		default:
			wait = max(min(2*wait, time.Minute), retryAfter(err))
			x.log.Warn("Final status could not be delivered; it is tried again", "error", err, "in", wait)
		}
		limit := x.plan.Runner.FinalUpdateRetries
		if (limit > 0 && attempt >= limit) || time.Since(x.ended) > deliverFor {
			return x.forget(ctx, "the final status could not be delivered")
		}
		sleep(send, wait)
	}
}

// deliveryContext lets the delivery outlive a stop of the runner for a short while.
func deliveryContext(ctx context.Context) (context.Context, context.CancelFunc) {
	send, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrDetach) {
			cancel(ErrDetach)
			return
		}
		time.AfterFunc(deliverOnStop, func() { cancel(ErrShutdown) })
	})
	return send, func() { stop(); cancel(nil) }
}

func retryAfter(err error) time.Duration {
	var failed *gitlab.Error
	if errors.As(err, &failed) {
		return failed.RetryAfter
	}
	return 0
}

// attemptDelivery waits for the log and sends the final status once. A pause asks for the same again
// after that time: the coordinator is still storing the log, or wants it anew.
func (x *execution) attemptDelivery(ctx context.Context) (pause time.Duration, err error) {
	if x.uploaded != nil {
		err := <-x.uploaded
		x.uploaded = nil
		if err != nil && cause(ctx) == nil && !errors.Is(err, trace.ErrGone) {
			x.startUpload(ctx)
		}
		if err != nil {
			return 0, err
		}
	}
	res := x.rec.Result
	size, crc, _ := x.trace.Size()
	update := gitlab.Update{
		State:         string(res.State),
		FailureReason: string(res.Reason.Reported(x.plan.Job.Features.FailureReasons)),
		Output:        gitlab.Output{Checksum: fmt.Sprintf("crc32:%08x", crc), Bytesize: size},
	}
	if res.Reason == job.ReasonScript {
		update.ExitCode = res.ExitCode
	}
	if x.resent > resendLimit || !x.trace.Whole() {
		update.Output = gitlab.Output{} // there is no agreeing on the log: the status matters more
	}
	answer, err := x.api.Update(ctx, update)
	again := x.tried || answer.Again
	x.tried = true
	switch {
	case errors.Is(err, gitlab.ErrTraceMismatch):
		x.log.Warn("The coordinator's log differs from ours; it is sent again from the start")
		x.resent++
		if err := x.trace.Resend(0); err != nil {
			return 0, err
		}
		x.startUpload(ctx)
		return time.Second, nil
	case err != nil:
		return 0, err
	case !answer.Accepted:
		return max(answer.Interval, time.Second), nil
	case answer.Already && res.State == job.Failed && (!again || time.Since(x.rec.Ended) > outage):
		return 0, errGone // GitLab has failed it: no update of ours can have done that, or none has for too long
	default:
		return 0, nil
	}
}

// gone says what became of a job that the coordinator has ended, empty when a user cancelled it: then
// nobody wants to hear more.
func gone(err error) string {
	if status, ok := gitlab.Gone(err); ok && status == gitlab.StatusCanceled {
		return ""
	}
	return "GitLab had dropped the job or given it to another runner before its result could be delivered"
}

// forget removes the job from the journal. why is empty when all is well; otherwise result and log
// are kept for some days, and the operator is told where.
func (x *execution) forget(ctx context.Context, why string) error {
	x.event(func(ev Events) {
		if ev.Over != nil {
			ev.Over(x.rec.Ref)
		}
	})
	if x.holding() {
		if err := x.hold(ctx, why == ""); err != nil {
			return err
		}
	}
	ctx = context.WithoutCancel(ctx)
	x.abandonEnvironment(ctx)
	if why == "" {
		if err := x.e.o.Journal.Delete(ctx, x.rec.Ref); err != nil {
			return fmt.Errorf("forget job %d: %w", x.plan.Job.ID, err)
		}
		return os.RemoveAll(x.e.jobDir(x.ref))
	}
	until := time.Now().Add(x.e.o.KeepFor)
	x.log.Warn("Job is given up: "+why, "log", x.e.jobDir(x.ref), "kept_until", until.Format(time.RFC3339))
	if err := x.e.o.Journal.Keep(ctx, x.rec.Ref, why, until); err != nil {
		return fmt.Errorf("keep the result of job %d: %w", x.plan.Job.ID, err)
	}
	return nil
}

// closeEnvironment removes the environment beside the delivery of the result.
func (x *execution) closeEnvironment(ctx context.Context) {
	x.guests.end()
	env := x.places.take()
	if env == nil {
		return
	}
	closed := func() {}
	if x.holds.Closed != nil {
		closed = sync.OnceFunc(x.holds.Closed)
	}
	if heir, ok := env.(executor.Bequeather); ok && x.rec.Result != nil && x.rec.Result.State == job.Success {
		heir.Bequeath(closed)
	}
	x.e.closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		if err := env.Close(ctx); err != nil {
			x.log.Error("The job's environment could not be removed; it is tried again when the runner starts", "error", err)
			return
		}
		closed()
	})
}

// abandonEnvironment removes the environment, also one that this process has not looked at yet or could
// only make in part.
func (x *execution) abandonEnvironment(ctx context.Context) {
	if err := x.findEnvironment(ctx); err != nil {
		if !errors.Is(err, executor.ErrGone) {
			x.log.Warn("The job's environment could not be looked at; it is removed when the runner starts", "error", err)
		}
		return
	}
	x.closeEnvironment(ctx)
}

// findEnvironment finds an environment that this process has not looked at yet; a job without a plan has none.
func (x *execution) findEnvironment(ctx context.Context) error {
	if planned := x.planErr == nil; !planned || x.places.opened() {
		return nil
	}
	exec, err := x.e.o.Executor(x.plan.Runner)
	if err != nil {
		return err
	}
	env, err := exec.Adopt(context.WithoutCancel(ctx), x.ref)
	if err != nil {
		return err
	}
	x.places.open(env)
	return nil
}

func decodeRunner(raw json.RawMessage) (plan.Runner, error) {
	var r plan.Runner
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("read the journaled runner entry: %w", err)
	}
	return r, nil
}
