package daemon

import (
	"context"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

const (
	tidyWait    = 5 * time.Second // which the start waits for left-over containers to be removed
	tidyAgain   = 5 * time.Second // after the first failure; doubled after each
	tidyLongest = 5 * time.Minute
	// tidySecond is how long after its start the runner looks once more for what earlier processes left: what an
	// engine was asked to make before the kill, and made after the first look.
	tidySecond = 3 * time.Minute
)

// tidying is how long left-over containers are being removed.
type tidying struct {
	now   context.Context //nolint:containedctx // of an attempt
	again context.Context //nolint:containedctx // of further attempts
	// stop ends all, last only forbids further attempts.
	stop, last context.CancelFunc
}

func newTidying(ctx context.Context) tidying {
	var t tidying
	t.now, t.stop = context.WithCancel(ctx)
	t.again, t.last = context.WithCancel(t.now)
	return t
}

// tidy removes what earlier processes left in the engines of the configuration, and of earlier ones, beside the work
// where an engine takes long or is away.
func (d *Daemon) tidy(t tidying, keep []executor.Ref) {
	var all sync.WaitGroup
	seen := map[engineapi.Address]bool{}
	for _, r := range d.engineRunners() {
		a, err := d.place.engines.address(t.now, dockerOf(r))
		if err != nil || seen[a] {
			continue // an entry without an engine is told of when it asks for jobs
		}
		seen[a] = true
		d.engines.note(a)
		all.Go(func() { d.keepTidying(t, r, keep) })
	}
	for _, a := range d.engines.besides(seen) { // nobody waits for these, and they may be gone for good
		d.tidying.Go(func() {
			if err := d.tidyEngine(t.now, formerRunner(a), keep); err != nil && t.now.Err() == nil {
				d.log.Info("Left-over containers were not looked for with an engine that is not configured any more; the next start tries again", "engine", a.Host, "error", err)
			}
		})
	}
	done := make(chan struct{})
	d.tidying.Go(func() {
		all.Wait()
		close(done)
	})
	limit := time.NewTimer(tidyWait)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	}
}

// keepTidying tries it with one engine until all is gone.
func (d *Daemon) keepTidying(t tidying, r *config.Runner, keep []executor.Ref) {
	for wait := tidyAgain; ; wait = min(2*wait, tidyLongest) {
		err := d.tidyEngine(t.now, r, keep)
		if err == nil || t.again.Err() != nil {
			return
		}
		d.log.Warn("Left-over containers could not all be removed", "runner", r.Name, "again_in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-t.again.Done():
			return
		}
	}
}

// tidyLater lets engines be tidied once more, unless t ends before. Their executors know the environments that
// this process has made since.
func (d *Daemon) tidyLater(t tidying, keep []executor.Ref) {
	d.tidying.Go(func() {
		timer := time.NewTimer(tidySecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			d.tidy(t, keep)
		case <-t.again.Done():
		}
	})
}

// finishTidying waits for the attempts under way, no longer than ctx.
func (d *Daemon) finishTidying(ctx context.Context, t tidying) {
	t.last()
	defer context.AfterFunc(ctx, t.stop)()
	d.tidying.Wait()
}

func (d *Daemon) tidyEngine(ctx context.Context, r *config.Runner, keep []executor.Ref) error {
	entry, err := d.place.entry(r, gitlab.TLSData{})
	if err != nil {
		return err
	}
	exec, err := newExecutor(entry, &d.containers, d.log)
	if err != nil {
		return err
	}
	return exec.Reconcile(ctx, executor.OwnerID(d.journal.Owner()), keep)
}
