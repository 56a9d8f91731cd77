package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/meter"
	"gitlab.com/skerry/skerry/internal/agent/proc"
	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/stage"
)

// early is why a stage ends before its work does. It is the cause of the stage's context.
type early struct {
	reason  stage.Reason
	message string
	grace   time.Duration
}

func (e *early) Error() string { return e.message }

// defaultGrace is between TERM and KILL where the spec says nothing.
const defaultGrace = 10 * time.Second

// stuck is how long work that runs no process may ignore that its context has ended.
const stuck = 5 * time.Second

// run is one stage, running or over.
type run struct {
	id     string
	spec   stage.Spec
	at     int64 // start, microseconds since 1970 UTC
	spool  *spool.Spool
	group  *proc.Group
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when result is set

	mu      sync.RWMutex // held for reading by starts of processes, for writing by end
	killers sync.WaitGroup
	settled bool          // no more killers
	ended   chan struct{} // closed when the first killer is done
	once    sync.Once     // closes ended
	result  stage.Result
}

// over reports whether the stage has ended.
func (r *run) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// end begins to end the stage: no more processes, TERM to those there are, KILL after grace. The
// first reason counts, the shortest grace too. It does not wait.
func (r *run) end(e *early, grace time.Duration) {
	if r.over() || r.group == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.cancel(e)
	r.killers.Go(func() {
		_ = r.group.End(grace) // survivors are reported by finish
		r.once.Do(func() { close(r.ended) })
	})
}

func (r *run) grace() time.Duration {
	if r.spec.Grace > 0 {
		return r.spec.Grace
	}
	return defaultGrace
}

// start makes and starts the stage of spec, or returns the one that has been started with its id.
func (a *Agent) start(ctx context.Context, spec stage.Spec) (*run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.stages[spec.ID]; r != nil {
		return r, nil
	}
	if a.ending {
		return nil, errEnding
	}
	dir := a.store.stage(spec.ID)
	scratch := filepath.Join(dir, "scratch")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, fmt.Errorf("make the stage's directory: %w", err)
	}
	sp, err := spool.Open(filepath.Join(dir, "spool"), a.config.spool())
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", spec.ID, err)
	}
	r := &run{id: spec.ID, spec: spec, at: time.Now().UnixMicro(), spool: sp, done: make(chan struct{}), ended: make(chan struct{})}
	if err := a.store.begin(r.id, startState{At: r.at, Boot: boottime.ID(), Leave: spec.Leave}); err != nil {
		_ = sp.Close()
		return nil, err
	}
	ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx)) // the request ends, the stage does not
	r.group = a.reaper.NewGroup(a.mark(r.id))
	a.stages[r.id] = r
	if a.overdue() {
		r.end(deadlineOver(), r.grace())
	}
	a.work.Go(func() { a.work1(ctx, r, scratch) })
	return r, nil
}

func (a *Agent) mark(id string) string { return a.state.Mark + "/" + id }

// work1 runs one stage to its end.
func (a *Agent) work1(ctx context.Context, r *run, scratch string) {
	a.awaitNix(ctx) // before the stage's own time begins
	if r.spec.Timeout > 0 {
		e := &early{reason: stage.Timeout, message: fmt.Sprintf("The stage took longer than its time limit of %s.", r.spec.Timeout)}
		if al, err := newAlarm(boottime.Now()+r.spec.Timeout, func() { r.end(e, r.grace()) }); err == nil {
			defer al.wait()
			defer al.stop()
		} else {
			a.o.Log.Warn("stage has no timeout", "stage", r.id, "error", err)
		}
	}
	before := a.meter.Read()
	res := a.perform(ctx, r, scratch)
	res.Usage = a.used(before, res.Usage)
	a.finish(ctx, r, res)
	_ = os.RemoveAll(scratch) // takes space only
}

// used adds what the place has used to what the stage's work knows itself.
func (a *Agent) used(before meter.Reading, u *stage.Usage) *stage.Usage {
	if u == nil {
		u = &stage.Usage{}
	}
	now := a.meter.Read()
	a.mu.Lock()
	defer a.mu.Unlock()
	u.Place, u.CPU, u.Memory, u.Limit, u.OOMKills = a.state.Mark, now.CPU, now.Memory, now.Limit, max(0, now.OOMKills-before.OOMKills)
	return u
}

// perform calls the run function. Work that does not notice that it has been ended is abandoned:
// a stage must not hang in a file system for longer than its job may.
func (a *Agent) perform(ctx context.Context, r *run, scratch string) stage.Result {
	place := stage.Place{
		Start:  func(c stage.Command) (stage.Process, error) { return a.startProcess(ctx, r, c) },
		Stdout: r.spool.Output(spool.Stdout), Stderr: r.spool.Output(spool.Stderr),
		Archives: a.archives, Scratch: scratch, Shells: a.tools.shells, Git: a.tools.git,
	}
	results := make(chan stage.Result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil { // bad input must not end the other stages
				a.o.Log.Error("stage panicked", "stage", r.id, "panic", p, "stack", string(debug.Stack()))
				results <- stage.Result{Reason: stage.System, Message: fmt.Sprintf("The agent has a bug: %v.", p)}
			}
		}()
		results <- a.o.Run(ctx, place, &r.spec)
	}()
	select {
	case res := <-results:
		return res
	case <-ctx.Done():
	}
	<-r.ended
	t := time.NewTimer(stuck)
	defer t.Stop()
	select {
	case res := <-results:
		return res
	case <-t.C:
		return stage.Result{Message: "The work did not stop when it was told to; it hangs in the kernel."}
	}
}

// startProcess is Place.Start.
func (a *Agent) startProcess(ctx context.Context, r *run, c stage.Command) (stage.Process, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := r.group.Start(c)
	if err != nil {
		return nil, err
	}
	if rec, ok := p.Record(); ok {
		if err := a.store.addProcess(r.id, rec); err != nil {
			a.o.Log.Warn("a successor would not find a process", "stage", r.id, "error", err) // it has the mark
		}
	}
	return p, nil
}

// finish ends what the stage left, and publishes its result.
func (a *Agent) finish(ctx context.Context, r *run, res stage.Result) {
	if ctx.Err() != nil {
		<-r.ended
	}
	var left error
	if !r.spec.Leave || ctx.Err() != nil {
		left = r.group.End(r.grace())
	}
	r.mu.Lock()
	r.settled = true
	r.mu.Unlock()
	r.killers.Wait()
	r.group.Release(r.spec.Leave)
	var e *early
	if ctx.Err() != nil && errors.As(context.Cause(ctx), &e) {
		res.Reason, res.Message = e.reason, e.message
	}
	r.cancel(nil)
	if left != nil {
		a.o.Log.Warn("end the stage's processes", "stage", r.id, "error", left)
		res.Message = join(res.Message, "After the stage, "+left.Error()+".")
	}
	res.Started, res.Ended = r.at, max(r.at, time.Now().UnixMicro())
	a.publish(r, res)
}

// publish makes a result known, on disk first.
func (a *Agent) publish(r *run, res stage.Result) {
	if err := a.store.setResult(r.id, res); err != nil {
		a.o.Log.Warn("the result is only in memory", "stage", r.id, "error", err)
	}
	if err := r.spool.Finish(); err != nil {
		a.o.Log.Warn("the output is not complete", "stage", r.id, "error", err)
	}
	r.result = res
	close(r.done)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}
