package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/trace"
)

// cancelGrace is what processes get between TERM and KILL when a stage is ended early, and
// cancelWait how long beyond it the agent may take to say so.
const (
	cancelGrace = 10 * time.Second
	cancelWait  = 30 * time.Second
	stopTime    = 3 * time.Second // each of these, and cleaning up, for a runner that stops: see deliverOnStop
)

// lostError says that a place died under the job.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// lost reports whether err says that the environment died, so that nothing more can be run in it.
func lost(err error) bool {
	var l *lostError
	return errors.As(err, &l)
}

// stage runs one stage in place and shows it in the log. The error is the cause of ctx when that ended
// the stage, a *stageError when the stage failed, a *lostError when the place died.
func (x *execution) stage(ctx context.Context, place executor.Place, st plan.Step) error {
	res, err := x.stageOpen(ctx, place, st)
	if !errors.Is(err, ErrDetach) {
		x.closeSection(st, res.Ended)
	}
	return err
}

// stageOpen is stage without the end of the section: the caller has more to say in it.
func (x *execution) stageOpen(ctx context.Context, place executor.Place, st plan.Step) (stage.Result, error) {
	reach, done := x.reach(ctx, key(st, "include"))
	defer done()
	if c := cause(reach); c != nil {
		return stage.Result{}, c
	}
	x.enter(st.Name)
	agent, err := x.places.agent(reach, place)
	if err != nil {
		return stage.Result{}, x.placeError(reach, place, st.Name, err)
	}
	st.Spec.Timeout = st.Timeout
	started, err := start(reach, agent, st.Spec)
	if err != nil {
		return stage.Result{}, x.placeError(reach, place, st.Name, err)
	}
	x.openSection(st, started.At)
	x.append(trace.Entry{Key: key(st, "include"), Time: started.At, Op: trace.Include, Place: string(place), Stage: st.Spec.ID})
	res, over := x.over(ctx, reach, agent, st)
	if !over {
		res, err = x.await(ctx, agent, place, st)
	}
	if err == nil && res.Reason != stage.Timeout {
		x.grant(ctx)
	}
	x.account.add(st.Name, res)
	switch {
	case err != nil && cause(ctx) != nil:
		return res, err
	case err != nil:
		x.abandon(string(place), st.Spec.ID, err)
		return res, x.placeError(ctx, place, st.Name, err)
	case res.Reason == stage.Timeout && x.overdue():
		return res, errTimeout // the agent's clock was a little ahead, or there was no runner when it was time
	case res.Reason == stage.Lost:
		return res, x.placeError(ctx, place, st.Name, errors.New(strings.TrimSuffix(res.Message, ".")))
	case res.Reason != stage.Success:
		return res, &stageError{name: st.Name, result: res}
	default:
		return res, nil
	}
}

// enter tells that the job is in the stage name.
func (x *execution) enter(name job.StageName) {
	x.view.enter(name)
	x.event(func(ev Events) {
		if ev.Stage != nil {
			ev.Stage(x.rec.Ref, name)
		}
	})
}

// reach returns a context for coming to terms with what the outline's key says has been begun, perhaps by an
// earlier process: it outlives ctx for a while, since what runs has to be ended and what has ended has to be
// heard. Otherwise it is ctx. The caller calls done.
func (x *execution) reach(ctx context.Context, key string) (reach context.Context, done func()) {
	if !x.trace.Has(key) {
		return ctx, func() {}
	}
	return outlive(ctx)
}

// outlive returns a context that outlives ctx for as long as is left for what is under way.
func outlive(ctx context.Context) (reach context.Context, done func()) {
	reach, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		why, limit := context.Cause(ctx), cancelWait
		switch {
		case errors.Is(why, ErrDetach):
			limit = 0
		case errors.Is(why, ErrShutdown):
			limit = stopTime
		}
		sleep(reach, limit)
		cancel(why)
	})
	return reach, func() {
		stop()
		cancel(nil)
	}
}

// over returns the result of a stage that has ended although ctx has, too: an adopted job that is cancelled
// goes through what is done already to what has to be cancelled.
func (x *execution) over(ctx, reach context.Context, agent *client.Client, st plan.Step) (stage.Result, bool) {
	if cause(ctx) == nil {
		return stage.Result{}, false
	}
	status, err := agent.Status(reach, st.Spec.ID)
	if err != nil || !status.Over {
		return stage.Result{}, false
	}
	return claimed(*status.Result), true
}

// startAttempts is how often a stage's start is tried while the connection to the agent breaks.
const startAttempts = 5

// start starts a stage. Starting is idempotent, so a connection that broke is no reason to give up: the
// next one may reach the agent's successor. Once asked, the agent is heard though ctx ends: what it has begun has to be
// ended, and what it has said by then to be shown.
func start(ctx context.Context, agent *client.Client, spec stage.Spec) (wire.Started, error) {
	ctx, done := outlive(ctx)
	defer done()
	for attempt := 1; ; attempt++ {
		started, err := agent.Start(ctx, spec)
		if err == nil || attempt == startAttempts || !errors.Is(err, client.ErrUnreachable) || !sleep(ctx, time.Duration(attempt)*20*time.Millisecond) {
			return started, err
		}
	}
}

// await waits for the stage's result. When ctx ends first, the stage is cancelled at the agent and
// its end awaited, unless the runner leaves: then the agent goes on.
func (x *execution) await(ctx context.Context, agent *client.Client, place executor.Place, st plan.Step) (stage.Result, error) {
	res, err := agent.Wait(ctx, st.Spec.ID)
	why := cause(ctx)
	if why == nil || err == nil {
		return claimed(res), err
	}
	if errors.Is(why, ErrDetach) {
		return res, ErrDetach
	}
	grace := st.Spec.Grace
	if grace == 0 {
		grace = cancelGrace
	}
	reason := stage.Canceled
	if errors.Is(why, errTimeout) {
		reason = stage.Timeout
	}
	limit := cancelWait
	if errors.Is(why, ErrShutdown) {
		grace, limit = min(grace, stopTime), stopTime
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace+limit)
	defer cancel()
	if err := agent.Cancel(after, st.Spec.ID, wire.Cancel{Grace: grace, Reason: reason}); err != nil {
		x.log.Warn("A stage could not be cancelled; its environment is removed", "stage", st.Name, "error", err)
		x.places.fail(fmt.Errorf("the job's agent does not answer: %w", err)) // nor would it clean up
	} else if res, err = agent.Wait(after, st.Spec.ID); err != nil {
		x.log.Warn("A cancelled stage did not end in time; its environment is removed", "stage", st.Name, "error", err)
	}
	if err != nil {
		x.abandon(string(place), st.Spec.ID, why)
	}
	return claimed(res), why
}

// abandon ends the log of a stage whose spool is gone for good.
func (x *execution) abandon(place, stage string, why error) {
	if err := x.trace.Abandon(place, stage, why.Error()); err != nil {
		x.log.Error("That a stage's output is lost could not be written to the job's log", "stage", stage, "error", err)
	}
}

// placeError says why a place cannot be reached, with what the executor knows of its death.
func (x *execution) placeError(ctx context.Context, place executor.Place, name job.StageName, err error) error {
	if c := cause(ctx); c != nil {
		return c
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer cancel()
	if why := x.places.diagnose(look, place); why != nil {
		err = fmt.Errorf("%w: %w", err, why)
	}
	err = &lostError{fmt.Errorf("stage %s: %w", name, err)}
	x.places.fail(err)
	return err
}

// key names an outline entry of a stage.
func key(st plan.Step, what string) string { return string(st.Name) + "/" + what }

// openSection begins a stage's section in the log.
func (x *execution) openSection(st plan.Step, at int64) {
	x.append(trace.Entry{Key: key(st, "start"), Time: at, Op: trace.SectionStart, Section: string(st.Name)})
	x.append(trace.Entry{Key: key(st, "title"), Time: at, Op: trace.Text, Text: cyan + st.Title + reset + "\n"})
	for i, line := range st.Lines {
		x.append(trace.Entry{Key: fmt.Sprintf("%s/line/%d", st.Name, i), Time: at, Op: trace.Text, Text: line + "\n"})
	}
}

// closeSection ends a stage's section, if it was begun. at is in microseconds; 0 means now.
func (x *execution) closeSection(st plan.Step, at int64) {
	if !x.trace.Has(key(st, "start")) {
		return
	}
	if at == 0 {
		at = time.Now().UnixMicro()
	}
	x.append(trace.Entry{Key: key(st, "end"), Time: at, Op: trace.SectionEnd, Section: string(st.Name)})
}

// mark records that something was done, without a line in the log.
func (x *execution) mark(key string) {
	x.append(trace.Entry{Key: key, Time: time.Now().UnixMicro(), Op: trace.Done})
}

// section is a section of the runner's own lines.
func (x *execution) section(st plan.Step) {
	now := time.Now().UnixMicro()
	x.openSection(st, now)
	x.closeSection(st, now)
}

// close ends the log.
func (x *execution) close() {
	x.append(trace.Entry{Key: "close", Time: time.Now().UnixMicro(), Op: trace.Close})
}
