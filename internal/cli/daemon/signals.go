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
	survives bool          // jobs may be left to the next process
	within   time.Duration // cancelled jobs must have ended
}

// followSignals acts on signals until all jobs are over or left. QUIT drains. The first TERM or INT leaves
// the jobs, or cancels them where they could not survive; they are left once no request for a job is open
// any more, and until then a second signal still cancels them. The third ends at once. HUP reloads. Cancelled
// jobs that have not ended in time are left as they are.
func (d *Daemon) followSignals(ctx context.Context, signals <-chan os.Signal, reload chan<- struct{}, over <-chan struct{}, how stopping) {
	terms := 0
	var leave <-chan struct{}    // closed when jobs can be left
	var overdue <-chan time.Time // when cancelled jobs should have ended
	terminate := func(cancel bool) {
		d.board.SetReady(false)
		d.notifyStopping()
		d.poller.Drain()
		if !cancel {
			d.log.Info("Stopping: running jobs go on and are adopted by the next start; a second signal cancels them")
			leave = d.poller.Drained()
			return
		}
		d.log.Info("Stopping: running jobs are cancelled; one more signal ends the runner at once", "within", how.within)
		leave = nil
		d.stopJobs(engine.ErrShutdown)
		overdue = time.After(how.within)
	}
	ending := ctx.Done()
	for {
		select {
		case <-over:
			return
		case <-leave:
			leave = nil
			d.stopJobs(engine.ErrDetach)
		case <-overdue:
			d.log.Warn("The cancelled jobs have not ended in time; the next start goes on with them", "within", how.within)
			return
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
				d.poller.Drain()
			default:
				terms++
				if terms > 2 {
					d.log.Warn("Ending at once; the next start goes on with the jobs")
					return
				}
				terminate(terms == 2 || !how.survives)
			}
		}
	}
}
