package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/trace"
)

// execution is one job under way.
type execution struct {
	e     *Engine
	log   *slog.Logger
	rec   journal.Record
	ref   executor.Ref
	clock progress

	plan    *plan.Plan
	planErr error
	api     Coordinator
	trace   *trace.Trace
	debug   bool // CI_DEBUG_TRACE, CI_DEBUG_SERVICES: GitLab shows such a log to fewer people

	places  *places
	account account
	company *company // nil: nothing runs beside the places
	view    view
	guests  guests

	cancelWork   context.CancelCauseFunc
	cancelScript context.CancelCauseFunc
	begun        time.Time // when the first stage started, for metadata
	ended        time.Time // when the result was known, by this process's monotonic clock
	uploaded     chan error
	adopted      bool // an earlier process began it
	holds        Holds
	resent       int          // how often the log was sent again whole
	tried        bool         // a final update may have arrived
	granted      atomic.Int64 // see grant: a boottime
}

// execute runs or resumes the job to its end.
func (x *execution) execute(ctx context.Context) error {
	e := x.e
	e.running.add(1)
	defer e.running.add(-1)
	e.live.add(x)
	defer e.live.remove(x)
	defer func() {
		if err := x.trace.Close(); err != nil {
			x.log.Warn("The files of the job's log were not closed cleanly", "error", err)
		}
	}()
	defer x.places.disconnect()
	send, stopSending := deliveryContext(ctx)
	defer func() {
		stopSending()
		if x.uploaded == nil {
			return
		}
		if err := <-x.uploaded; err != nil {
			x.log.Debug("Sending the job's log ended", "cause", err)
		}
	}()

	if x.rec.State == journal.Finished {
		x.view.end(*x.rec.Result)
		if x.clock.Delivered {
			return x.forget(ctx, "") // only its environment was kept
		}
		x.log.Info("Job had ended before the runner was restarted; its result is still to be delivered")
		if !x.holding() {
			x.abandonEnvironment(ctx)
		}
		x.tried = true
		if err := x.completeLog(send); err != nil {
			return err
		}
		x.startUpload(send)
		return x.deliver(ctx, send)
	}
	switch err := x.perform(ctx, send); {
	case errors.Is(err, errGone) && !x.trace.Has("running"):
		return x.forget(ctx, "") // nothing was done that could be kept
	case errors.Is(err, errGone):
		return x.forget(ctx, gone(err))
	case err != nil:
		return err
	}
	return x.deliver(ctx, send)
}

func (e *Engine) prepareExecution(rec journal.Record, j *job.Job) (*execution, error) {
	ref, err := executor.ParseRef(rec.Ref)
	if err != nil {
		return nil, err
	}
	entry, err := decodeRunner(rec.Runner)
	if err != nil {
		return nil, fmt.Errorf("job %d: %w", j.ID, err)
	}
	x := &execution{
		e: e, rec: rec, ref: ref,
		view: newView(), log: e.o.Logger.With("job", j.ID, "project", j.ProjectID, "runner", runnertoken.Short(entry.Token)),
	}
	x.plan, x.planErr = plan.New(j, entry, plan.Slot{Concurrent: rec.ConcurrentID, Project: rec.ProjectID}, e.o.Version)
	x.clock = readProgress(rec.Extra, rec.Accepted, j.Timeout)
	x.ended = time.Now().Add(-x.clock.sinceEnd(rec.Ended))
	x.debug = x.plan.Settings.DebugTrace || x.plan.Settings.DebugServices
	x.places = newPlaces(func() wire.Handover {
		return wire.Handover{Job: rec.Ref, Epoch: e.o.Journal.Epoch(), Lease: x.lease(), Left: x.left()}
	})
	if x.api, err = e.o.Coordinator(entry, j.ID, j.Token); err != nil {
		return nil, fmt.Errorf("job %d: %w", j.ID, err)
	}
	if err := os.MkdirAll(e.jobDir(ref), 0o700); err != nil {
		return nil, fmt.Errorf("make the job's directory: %w", err)
	}
	x.trace, err = trace.Open(trace.Options{
		Dir:        e.jobDir(ref),
		Secrets:    x.plan.Secrets(),
		Prefixes:   j.Features.TokenMaskPrefixes,
		FewTokens:  !x.plan.Flag(plan.FlagMaskDefaults),
		Timestamps: x.plan.Flag(plan.FlagTimestamps),
		Sections:   j.Features.TraceSections,
		Limit:      entry.OutputLimit,
		Logger:     x.log,
	})
	if err != nil {
		return nil, fmt.Errorf("open the log of job %d: %w", j.ID, err)
	}
	return x, nil
}

// perform does the job's work and journals its result; the log goes out beside it, on send. Its error
// is errGone, ErrDetach, or that the result could not be journaled; what went wrong in the job is in the result.
func (x *execution) perform(ctx, send context.Context) error {
	x.adopted = x.trace.Has("running")
	status, err := x.confirm(ctx)
	if err != nil {
		return err
	}
	x.event(func(ev Events) {
		if ev.Started != nil {
			ev.Started(Start{Ref: x.rec.Ref, RunnerKey: x.rec.RunnerKey, Plan: x.plan, Adopted: x.adopted})
		}
	})
	work, cancelWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelWork(nil)
	defer context.AfterFunc(ctx, func() { cancelWork(context.Cause(ctx)) })()
	defer time.AfterFunc(x.limit(), func() { cancelWork(errTimeout) }).Stop()
	script, cancelScript := context.WithCancelCause(work)
	defer cancelScript(nil)
	x.cancelWork, x.cancelScript = cancelWork, cancelScript
	x.observe(status)

	x.startUpload(send)
	beside := x.startBeside(ctx)
	x.header()
	err = x.work(work, script)
	if detached(ctx, err) {
		x.company.leave()
		beside.leave()
		return ErrDetach
	}
	x.company.end(ctx, x)
	res := result(err, x.plan)
	x.footer(ctx, res)
	if err := beside.finish(ctx, x); err != nil {
		return ErrDetach // the runner leaves while the last of the log is being made
	}
	if x.mayHold(err) {
		x.clock.Held = time.Now().Add(x.plan.Runner.KeepFailed)
	}
	if errors.Is(err, errGone) {
		return err
	}
	if err := x.finish(ctx, res); err != nil {
		// A full disk must not keep the result from the coordinator: this process still has it. So has the
		// environment, which therefore stays until the job is forgotten.
		x.log.Error("The job's result is not journaled; if the runner ends now, the job is done again from its agent", "error", err)
		return nil
	}
	if !x.holding() {
		x.closeEnvironment(ctx)
	}
	return nil
}

func detached(ctx context.Context, err error) bool {
	return errors.Is(err, ErrDetach) || errors.Is(context.Cause(ctx), ErrDetach)
}

// beside is what goes on while a job's work does: watching the coordinator and making the log.
type beside struct {
	stopWatching context.CancelFunc
	stopAll      context.CancelCauseFunc
	group        *sync.WaitGroup
	rendered     chan error
}

// startBeside starts them. They end with leave or finish, and when the runner leaves its jobs.
func (x *execution) startBeside(ctx context.Context) beside {
	all, stopAll := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrDetach) {
			stopAll(ErrDetach)
		}
	})
	watching, stopWatching := context.WithCancel(all)
	b := beside{stopWatching: stopWatching, stopAll: stopAll, group: &sync.WaitGroup{}, rendered: make(chan error, 1)}
	b.group.Go(func() { x.watch(watching) })
	b.group.Go(func() {
		defer stop()
		b.rendered <- x.trace.Render(all, x)
	})
	return b
}

// leave ends them at once.
func (b beside) leave() {
	b.stopAll(ErrDetach)
	b.stopWatching()
	b.group.Wait()
}

// finish waits until the log, which has been closed, is made; its error is that of a runner that leaves.
func (b beside) finish(ctx context.Context, x *execution) error {
	b.stopWatching()
	err := x.drain(ctx, b.rendered)
	b.stopAll(nil)
	b.group.Wait()
	return err
}

// errLogLost is in the log of an ended job where output is missing.
var errLogLost = errors.New("the rest of this stage's output is lost: the runner ended before it could store it, or its files were damaged")

// completeLog brings the log of a job whose result is journaled to its end, should that not be on file: the
// journal outlives a loss of power or a full disk, and the log's files need not.
func (x *execution) completeLog(ctx context.Context) error {
	if _, _, complete := x.trace.Size(); complete {
		return nil
	}
	x.log.Warn("The job's log is not complete on this machine's disk: it ends with what is left of it")
	x.places.fail(errLogLost)
	x.footer(ctx, *x.rec.Result)
	return x.trace.Render(ctx, x)
}

// drainOnStop is how long a runner that stops waits for the rest of a log.
const drainOnStop = 5 * time.Second

// errUndelivered is in the log where output is missing.
var errUndelivered = errors.New("the rest of this stage's output is missing: the job's agent did not deliver it in time")

// drain waits for the rest of the log. Every stage is over, so that little can be missing, unless an agent says that a
// stage is over and goes on talking, or stops in the middle: then the log ends without the rest.
func (x *execution) drain(ctx context.Context, rendered <-chan error) error {
	limit := time.NewTimer(x.e.o.Drain)
	defer limit.Stop()
	stopping := ctx.Done()
	for {
		select {
		case err := <-rendered:
			return err
		case <-stopping:
			stopping = nil
			limit.Reset(min(drainOnStop, x.e.o.Drain))
		case <-limit.C:
			for _, e := range x.trace.Awaited() {
				x.abandon(e.Place, e.Stage, errUndelivered)
			}
		}
	}
}

// finish journals the result: from here on the job's work is never done again.
func (x *execution) finish(ctx context.Context, res job.Result) error {
	size, crc, complete := x.trace.Size()
	x.rec.State = journal.Finished
	x.rec.Result = &res
	x.ended = time.Now()
	x.rec.Ended = x.ended
	x.clock.end()
	var err error
	if x.rec.Extra, err = json.Marshal(x.clock); err != nil {
		return err
	}
	x.rec.Trace = journal.Trace{Size: size, CRC32: crc, Complete: complete}
	x.view.end(res)
	if err := x.e.o.Journal.Put(context.WithoutCancel(ctx), x.rec); err != nil {
		return fmt.Errorf("journal the result of job %d: %w", x.plan.Job.ID, err)
	}
	x.event(func(ev Events) {
		if ev.Ended != nil {
			ev.Ended(x.rec.Ref, res)
		}
	})
	return nil
}

func (x *execution) event(call func(Events)) { call(x.e.o.Events) }

// note writes one line of the runner into the job's log, once.
func (x *execution) note(key, text string) {
	x.append(trace.Entry{Key: key, Time: time.Now().UnixMicro(), Op: trace.Text, Text: text + "\n"})
}

// append adds an entry to the outline. An outline that cannot be written (the disk is full) must not
// end the job: the operator is told, and the job goes on.
func (x *execution) append(entry trace.Entry) {
	if _, err := x.trace.Append(entry); err != nil {
		x.log.Error("A line of the job's log could not be written", "error", err)
	}
}
