package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
)

const (
	// maxHeld is how many environments of failed jobs are kept at a time: what they hold of memory and disk is
	// nobody's else. Beyond it the one that would go first goes at once.
	maxHeld = 20
	// holdTick is how often the agents of a kept environment hear of the runner, and how far off its end may be.
	holdTick = time.Minute
)

// ErrNotKept says that a job's environment is not kept, so that there is nothing to release.
var ErrNotKept = errors.New("the environment of this job is not kept: only failed jobs of runners with keep_failed have one that is")

// mayHold reports whether the environment of a job whose work ended with err is kept: one that failed by itself, in an
// environment that lives.
func (x *execution) mayHold(err error) bool {
	if x.plan.Runner.KeepFailed <= 0 || err == nil || lost(err) || x.places.failure() != nil || !x.places.opened() {
		return false
	}
	for _, ended := range []error{errCanceled, errCanceling, errGone, ErrShutdown, ErrDetach} {
		if errors.Is(err, ended) {
			return false
		}
	}
	return result(err, x.plan).Reason != job.ReasonCanceled
}

// announceHold tells the job's author what becomes of the environment, where its cleaning up would be told.
func (x *execution) announceHold() {
	st := x.plan.Cleanup()
	x.enter(st.Name)
	x.section(plan.Step{Name: st.Name, Title: st.Title, Lines: []string{fmt.Sprintf(
		"The job's environment is kept for %s (keep_failed): on the runner's machine, `skerry shell %d` opens a terminal in it", x.plan.Runner.KeepFailed, x.plan.Job.ID)}})
}

// holding reports whether the environment is to be kept, be it for no time any more.
func (x *execution) holding() bool { return !x.clock.Held.IsZero() }

// lease is how long the agents go on without a runner: a kept environment must not end before its time while no
// runner is there to renew it.
func (x *execution) lease() time.Duration {
	if !x.holding() {
		return x.e.o.Lease
	}
	return max(x.e.o.Lease, time.Until(x.clock.Held)+holdTick)
}

// hold keeps the environment until its time is over, a user releases it, or the runner stops; its error is ErrDetach
// when the next process goes on with it. delivered says that nothing else is left of the job.
func (x *execution) hold(ctx context.Context, delivered bool) error {
	if delivered && !x.clock.Delivered {
		x.clock.Delivered = true
		if extra, err := json.Marshal(x.clock); err == nil {
			x.rec.Extra = extra
		}
		if err := x.e.o.Journal.Put(context.WithoutCancel(ctx), x.rec); err != nil {
			x.log.Warn("That the job's result has been delivered is not journaled; if the runner ends now, it is delivered again", "error", err)
		}
	}
	if err := x.findEnvironment(ctx); err != nil || x.planErr != nil {
		return nil //nolint:nilerr // nothing is left to keep; who removes the rest says what is wrong
	}
	x.view.keep(x.clock.Held)
	if x.holds.Held != nil {
		x.holds.Held()
	}
	x.e.live.crowd()
	x.log.Info("The environment of the failed job is kept; `jobs --release` removes it before its time", "until", x.clock.Held.Format(time.RFC3339))
	if err := x.awaitRelease(ctx); err != nil {
		return err
	}
	x.guests.end()
	x.cleanHeld(ctx)
	x.log.Info("The environment of the failed job is removed")
	return nil
}

// awaitRelease returns when the environment is to be removed.
func (x *execution) awaitRelease(ctx context.Context) error {
	for {
		left := time.Until(x.clock.Held)
		if left <= 0 {
			return nil
		}
		once, cancel := context.WithTimeout(ctx, holdTick)
		x.places.renew(once)
		cancel()
		tick := time.NewTimer(min(left, holdTick))
		select {
		case <-tick.C:
			continue
		case <-x.view.freed:
		case <-x.e.live.leaving:
			tick.Stop()
			return ErrDetach
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), ErrDetach) {
				tick.Stop()
				return ErrDetach
			}
		}
		tick.Stop()
		return nil
	}
}

// cleanHeld does what the job's own cleaning up would have: directories that outlive the environment must not keep
// file variables.
func (x *execution) cleanHeld(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	agent, err := x.places.agent(ctx, executor.Helper)
	if err == nil {
		x.places.extend(ctx, cleanupTime)
		st := x.plan.Cleanup()
		if _, err = start(ctx, agent, st.Spec); err == nil {
			_, err = agent.Wait(ctx, st.Spec.ID)
		}
	}
	if err != nil && !errors.Is(err, client.ErrFenced) {
		x.log.Warn("File variables could not be removed from the kept job's directory", "error", err)
	}
}

// crowd releases the kept environments that would go first when there are too many.
func (l *live) crowd() {
	type kept struct {
		x     *execution
		until time.Time
	}
	var all []kept
	for _, x := range l.all() {
		if v := x.show(); !v.Kept.IsZero() {
			all = append(all, kept{x, v.Kept})
		}
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(a.until.Compare(b.until), cmp.Compare(a.x.rec.Ref, b.x.rec.Ref)) })
	for i := range max(len(all)-maxHeld, 0) {
		all[i].x.log.Info("Too many environments are kept: this one is removed", "most", maxHeld)
		all[i].x.view.free()
	}
}

// Release removes the kept environment of a job before its time. id is as Terminal's.
func (e *Engine) Release(id string) error {
	x, err := e.live.find(id)
	if err != nil {
		return err
	}
	if !x.view.free() {
		return ErrNotKept
	}
	return nil
}

// LeaveHeld leaves the environments that are kept to the next process: their Run returns ErrDetach. So does that of
// jobs whose environment would be kept from now on.
func (e *Engine) LeaveHeld() {
	e.live.mu.Lock()
	defer e.live.mu.Unlock()
	if !e.live.left {
		e.live.left = true
		close(e.live.leaving)
	}
}
