// Package agent is the server in a job's environment: it runs the stages that the runner asks for,
// keeps their output and their results until the runner has both, and goes on alone when the runner is gone.
//
// # State
//
// The agent's directory is that of its own executable or, for an executable in a directory "bin", the
// directory "state" beside that. It holds
//
//	agent.json         Config, written by the executor before the start; may be missing
//	lock               held (flock) by the one agent of the directory
//	job.json           the handover, the epoch, the deadline and the agent's mark
//	sock/agent.sock    the socket, unless Config.SockDir says otherwise
//	stages/ID/         start.json, processes, result.json, spool/, scratch/
//	archives/NAME      archives between stages and runner
//
// An agent that finds a stage with a start and no result succeeds one that was killed: it ends what is
// left of the stage's processes and reports stage.Lost; the spool is served as far as it was written.
//
// # Ending
//
// A stage ends early by Cancel, by its timeout or by the job's deadline; all stages and the agent end by
// shutdown, by SIGTERM and when no runner has made contact for the lease. Times are by
// CLOCK_BOOTTIME: they go on while the machine sleeps and do not follow the wall clock.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/meter"
	"gitlab.com/skerry/skerry/internal/agent/proc"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/stage"
)

// RunFunc does the work of a stage; it is worker.Run in the real agent.
type RunFunc func(ctx context.Context, place stage.Place, spec *stage.Spec) stage.Result

// Options is what an agent needs.
type Options struct {
	Dir     string // the state directory, absolute
	Version string
	Run     RunFunc
	// Terminal prepares the processes of terminals; nil: there are none.
	Terminal stage.TerminalFunc
	Log      *slog.Logger
}

// Agent is one running agent. There is one in a process, because it waits for all children of it.
type Agent struct {
	o        Options
	config   Config
	store    *store
	reaper   *proc.Reaper
	archives *os.Root
	tools    tools
	meter    *meter.Meter
	nix      *gateway.Gateway // nil: none

	mu      sync.Mutex
	state   jobState
	stages  map[string]*run
	fence   context.Context //nolint:containedctx // ends the requests of the epoch
	unfence context.CancelCauseFunc
	alarm   *alarm // the job's deadline; nil: none
	ending  bool   // no more stages and terminals
	guests  int    // terminals
	work    sync.WaitGroup

	lease   lease
	stopped chan struct{} // closed once by stop
	why     atomic.Pointer[early]
}

// Run serves until the agent is told to end or ctx ends, and then ends every process. It returns
// an error when it cannot start or when another agent has the directory and keeps it for ten seconds.
func Run(ctx context.Context, o Options) error {
	config, err := readConfig(o.Dir)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, o.Dir, takeover)
	if err != nil {
		return err
	}
	defer st.close()
	archives, err := st.openArchives()
	if err != nil {
		return err
	}
	defer archives.Close()
	reaper, err := proc.NewReaper(o.Log)
	if err != nil {
		return err
	}
	defer reaper.Close()
	if config.Confined {
		if err := reaper.Confine(); err != nil {
			return err
		}
	}
	a := &Agent{
		o: o, config: config, store: st, reaper: reaper, archives: archives, stages: map[string]*run{},
		stopped: make(chan struct{}), tools: newTools(), meter: meter.New(config.Shared),
	}
	a.fence, a.unfence = context.WithCancelCause(context.WithoutCancel(ctx))
	defer a.unfence(nil)
	if err := a.succeed(); err != nil {
		return err
	}
	endNix, err := a.startNix(ctx)
	if err != nil {
		return err
	}
	defer endNix()
	return a.serve(ctx)
}

// serve opens the socket and waits for the reason to end.
func (a *Agent) serve(ctx context.Context) error {
	l, err := listen(a.config.sockDir(a.o.Dir), a.config.Shared)
	if err != nil {
		return err
	}
	srv := a.server(ctx)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	a.lease.start(a.leaseTime(), func(length time.Duration) {
		a.stop(&early{reason: stage.System, message: fmt.Sprintf("No runner has made contact for %s, so the agent ended the job.", length), grace: stopGrace})
	})
	defer a.lease.end()
	var failed error
	select {
	case <-ctx.Done():
		a.stop(&early{reason: stage.System, message: "The agent was told to stop: " + context.Cause(ctx).Error() + ".", grace: stopGrace})
	case <-a.stopped:
	case failed = <-served:
		a.stop(&early{reason: stage.System, message: "The agent's socket failed.", grace: stopGrace})
		served <- failed
	}
	a.endAll(*a.why.Load())
	shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(shut) != nil {
		_ = srv.Close() // readers that do not go: everything they could read is on disk
	}
	if err := <-served; failed == nil && !errors.Is(err, http.ErrServerClosed) {
		failed = err
	}
	return failed
}

// stopGrace is the time between TERM and KILL when the agent itself ends.
const stopGrace = 5 * time.Second

// stop begins the end of the agent. The first reason counts.
func (a *Agent) stop(e *early) {
	if a.why.CompareAndSwap(nil, e) {
		close(a.stopped)
	}
}

// endAll ends every stage and then every process, and lets the results be written. It may be called
// by several at once.
func (a *Agent) endAll(e early) {
	a.mu.Lock()
	a.ending = true
	if a.alarm != nil {
		a.alarm.stop()
		a.alarm = nil
	}
	stages := make([]*run, 0, len(a.stages))
	for _, r := range a.stages {
		stages = append(stages, r)
	}
	a.mu.Unlock()
	for _, r := range stages {
		r.end(&e, e.grace)
	}
	a.work.Wait()
	if err := a.reaper.EndAll(e.grace); err != nil {
		a.o.Log.Warn("end the job's processes", "error", err)
	}
}
