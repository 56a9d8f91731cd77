package daemon

import (
	"context"
	"os"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/engine"
)

// stopping says how a runner may stop.
type stopping struct {
	survives bool                 // jobs may be left to the next process
	within   func() time.Duration // cancelled jobs must have ended
}

// secondSignal is how long jobs are not yet left after the first TERM or INT: who presses Ctrl-C twice
// means to cancel them.
const secondSignal = time.Second

// followSignals acts on signals until all jobs are over or left. QUIT drains. The first TERM or INT leaves
// the jobs, or cancels them where they could not survive; they are left a second later, once no request for a
// job is open any more, and until then a second signal still cancels them. The third ends at once. HUP reloads. Cancelled
// jobs that have not ended in time are left as they are. Drained is that nobody asked for more than the end of the
// jobs that were there.
func (d *Daemon) followSignals(ctx context.Context, signals <-chan os.Signal, reload chan<- struct{}, over <-chan struct{}, how stopping) (drained bool) {
	terms := 0
	var waited <-chan time.Time  // for a second signal
	var leave <-chan struct{}    // closed when jobs can be left
	var overdue <-chan time.Time // when cancelled jobs should have ended
	left := false
	terminate := func(cancel bool) {
		if left {
			d.log.Warn("The jobs have been left to the next start already; cancel them in GitLab")
			return
		}
		d.board.SetReady(false)
		d.notifyStopping()
		d.poller.Drain()
		if !cancel {
			d.log.Info("Stopping: running jobs go on and are adopted by the next start; a second signal cancels them")
			waited = time.After(secondSignal)
			return
		}
		d.log.Info("Stopping: running jobs are cancelled; one more signal ends the runner at once", "within", how.within())
		waited, leave = nil, nil
		d.stopJobs(engine.ErrShutdown)
		overdue = time.After(how.within())
	}
	ending := ctx.Done()
	for {
		select {
		case <-over:
			return terms == 0
		case <-waited:
			leave = d.poller.Drained()
		case <-leave:
			leave, left = nil, true
			d.stopJobs(engine.ErrDetach)
		case <-overdue:
			d.log.Warn("The cancelled jobs have not ended in time; the next start goes on with them", "within", how.within())
			return false
		case <-ending:
			ending = nil
			terms++
			terminate(!how.survives)
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				poke(reload)
			case syscall.SIGQUIT:
				d.log.Info("Draining: no more jobs are taken; the runner ends when the present ones have")
				d.board.SetReady(false)
				d.poller.Drain()
				d.engine.LeaveHeld()
			default:
				terms++
				if terms > 2 {
					d.log.Warn("Ending at once; the next start goes on with the jobs")
					return false
				}
				terminate(terms == 2 || !how.survives)
			}
		}
	}
}
