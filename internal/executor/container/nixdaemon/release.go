package nixdaemon

import (
	"context"
	"slices"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

const (
	// manyOver is how many jobs are remembered as over; the roots of others are found by the next collection.
	manyOver = 10000
	// releaseAtOnce is how many the daemon is told of at once.
	releaseAtOnce = 500
)

// Over says that a job has ended, and nothing of it is left: its roots hold nothing any more. It asks nothing of the
// engine: the daemon is told before it is asked for something else.
func (k *Keeper) Over(domain, job string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.domains[domain]
	if d == nil {
		return
	}
	if len(d.over) < manyOver && !slices.Contains(d.over, job) {
		d.over = append(d.over, job)
	}
	if d.Spec.Push != nil {
		k.wantPush(d)
	}
}

// release tells a daemon that runs which jobs are over. One that is stopped meanwhile is told when it runs again; what a
// runner has not told before it ended is found by the next collection.
func (k *Keeper) release(ctx context.Context, d *domain, s Spec) {
	k.mu.Lock()
	none := len(d.over) == 0
	k.mu.Unlock()
	if none {
		return
	}
	if s.Push != nil { // their roots are needed for that
		p, err := k.queue(ctx, d, s)
		if err != nil {
			k.log.Debug("What jobs that are over have built was not put into the queue", "store", s.Name(), "error", err)
		}
		if len(p.Queue) > 0 { // a push at work may have looked before
			k.mu.Lock()
			k.wantPush(d)
			k.mu.Unlock()
		}
		return
	}
	k.mu.Lock()
	over := d.over
	d.over = nil
	k.mu.Unlock()
	for len(over) > 0 {
		some := over[:min(len(over), releaseAtOnce)]
		var n int
		if err := k.ask(ctx, s, &n, append([]string{nixd.CommandRelease}, some...)...); err != nil {
			k.log.Debug("The roots of jobs that are over were not released; it is tried again", "store", s.Name(), "error", err)
			k.mu.Lock()
			d.over = append(d.over, over...)
			k.mu.Unlock()
			return
		}
		over = over[len(some):]
	}
}
