package nixdaemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// tend has stores collected when it is time.
func (k *Keeper) tend() {
	tick := time.NewTicker(k.o.Tend)
	defer tick.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-tick.C:
		case <-k.poke:
		}
		k.lookAround(time.Now())
	}
}

// wakeTender has the stores looked at now.
func (k *Keeper) wakeTender() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// lookAround begins what is due.
func (k *Keeper) lookAround(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.domains {
		if d.wantsPush(now) {
			k.beginPush(d)
		}
		switch {
		case len(d.collecting) > 0:
		case d.due(now, d.sleeps()):
			d.Tried = now
			k.spawn(func() { k.collectBeside(d, Order{}, "it is time") })
		case d.wantsLook(now):
			d.looked, d.look = now, false
			k.spawn(func() { k.lookAtSpace(d) })
		}
	}
}

// sleeps reports whether the daemon is stopped, or about to be. The caller holds Keeper.mu.
func (d *domain) sleeps() bool { return d.users+d.tasks == 0 && d.idle == nil && d.Spec.Idle > 0 }

// wantsLook reports whether the free space is to be looked at: after jobs, and while there are some where it costs nothing.
// The caller holds Keeper.mu.
func (d *domain) wantsLook(now time.Time) bool {
	return d.Spec.Collect.WantsSpace() && past(now, d.looked, spaceEvery) && (d.look || d.users > 0 && d.mount != noMount)
}

// collectBeside collects by the policy, unless somebody does.
func (k *Keeper) collectBeside(d *domain, o Order, why string) {
	select {
	case d.collecting <- struct{}{}:
	default:
		return
	}
	defer func() { <-d.collecting }()
	k.mu.Lock()
	name := d.Spec.Name()
	k.mu.Unlock()
	if _, err := k.collect(k.ctx, d, o, why); err != nil && k.ctx.Err() == nil {
		k.log.Warn("A Nix store could not be collected; it is tried again later", "store", name, "why", why, "error", err)
	}
}

// Order says what a collection is to do otherwise than the store's policy says.
type Order struct {
	KeepFor        *time.Duration
	MinFree        int64 // bytes of the file system that are to be free,
	MinFreePercent float64
	MaxFreed       int64 // it ends when so many bytes have been freed; 0: no limit
	DryRun         bool  // it tells what would be deleted
	More           int64 // bytes that are to be freed, whatever is free now
}

// Collect deletes what nothing holds in a store, now. Another collection is waited for. It goes on when ctx ends.
func (k *Keeper) Collect(ctx context.Context, name string, o Order) (nixd.Collected, error) {
	d, err := k.known(name)
	if err != nil {
		return nixd.Collected{}, err
	}
	select {
	case d.collecting <- struct{}{}:
	case <-ctx.Done():
		return nixd.Collected{}, context.Cause(ctx)
	case <-k.ctx.Done():
		return nixd.Collected{}, errStopping
	}
	type outcome struct {
		done nixd.Collected
		err  error
	}
	over := make(chan outcome, 1)
	k.mu.Lock()
	k.spawn(func() {
		defer func() { <-d.collecting }()
		var out outcome
		out.done, out.err = k.collect(k.ctx, d, o, byHand)
		over <- out
	})
	k.mu.Unlock()
	select {
	case out := <-over:
		return out.done, out.err
	case <-ctx.Done():
		return nixd.Collected{}, context.Cause(ctx)
	case <-k.ctx.Done():
		return nixd.Collected{}, errStopping
	}
}

var errStopping = errors.New("the runner is stopping")

// collectTime bounds one collection.
const collectTime = 6 * time.Hour

// collect has the daemon collect. The caller has d.collecting.
func (k *Keeper) collect(ctx context.Context, d *domain, o Order, why string) (nixd.Collected, error) {
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	defer k.task(d)()
	var done nixd.Collected
	if err := k.wake(ctx, d); err != nil {
		return done, err
	}
	k.mu.Lock()
	s, used := d.Spec, d.Used
	k.mu.Unlock()
	k.release(ctx, d, s)
	began := time.Now()
	order, least, err := k.order(ctx, s, o, began)
	if err != nil {
		return done, err
	}
	raw, err := json.Marshal(order)
	if err != nil {
		return done, err
	}
	if err := k.ask(ctx, s, &done, nixd.CommandCollect, string(raw)); err != nil {
		return done, err
	}
	if o.DryRun {
		return done, nil
	}
	level := slog.LevelDebug
	if done.Count > 0 || done.Kept > 0 || why == byHand {
		level = slog.LevelInfo
	}
	k.log.Log(ctx, level, "A Nix store was collected", "store", s.Name(), "why", why, "freed", size(done.Freed), "paths", done.Count, "kept", done.Kept,
		"free", size(done.Free), "took", time.Since(began).Round(time.Millisecond))
	if done.Stat == nil { // of a container that an earlier version has made
		done.Stat = &nixd.Stat{}
		if err := k.ask(ctx, s, done.Stat, nixd.CommandStat); err != nil {
			done.Stat = nil
		}
	}
	k.collected(d, s, done, used, began, least)
	return done, nil
}

const byHand = "somebody asked"

// order is what the daemon is told, and how many bytes are to be free afterwards. What has changed since began may be of
// a job that is not in the list.
func (k *Keeper) order(ctx context.Context, s Spec, o Order, began time.Time) (order nixd.Collect, least int64, err error) {
	live, err := k.o.Live(s.Domain)
	if err != nil {
		return order, 0, fmt.Errorf("find out which jobs have the store: %w", err)
	}
	p := s.Collect
	if o.KeepFor != nil {
		p.KeepFor = *o.KeepFor
	}
	if o.MinFree > 0 || o.MinFreePercent > 0 {
		p.MinFree, p.MinFreePercent = o.MinFree, o.MinFreePercent
	}
	if p.WantsSpace() || o.More > 0 {
		var i nixd.Info
		if err := k.ask(ctx, s, &i, nixd.CommandInfo); err != nil {
			return order, 0, err
		}
		least = p.Least(i.Total)
		order.MinFree = least
		if o.More > 0 {
			order.MinFree = max(least, i.Free+o.More)
		}
	}
	if s.Agent.Volume != "" { // the engine's clock may be another one
		began = began.Add(-otherClock)
	}
	order.Push = s.Push != nil || s.Image == "" // of a store of which nothing is written down nobody knows
	order.KeepFor, order.MaxFreed, order.Live, order.AsOf, order.DryRun = p.KeepFor, o.MaxFreed, live, began, o.DryRun
	return order, least, nil
}

// otherClock is by how much the clock of another machine may differ from this one's.
const otherClock = time.Hour

// warnEvery is the time between two warnings that too little is free.
const warnEvery = time.Hour

// collected notes what a collection has done, and what is left. used is when the store had been used last when it began.
func (k *Keeper) collected(d *domain, s Spec, done nixd.Collected, used, began time.Time, least int64) {
	now := time.Now()
	k.mu.Lock()
	d.Collected = now
	if stat := done.Stat; stat != nil {
		d.counted(*stat)
		d.Unused = stat.Recent.Paths+stat.Dead.Paths > 0 || !d.Used.Equal(used)
	}
	if s.Push != nil && len(done.Released) > 0 { // what they have built is in the queue
		d.push.wanted, d.Unpushed = true, true
	}
	short := done.Free < least
	d.scarce = time.Time{}
	if short && done.Count == 0 {
		d.scarce = began.Add(scarceFor)
	}
	warn := short && past(now, d.told, warnEvery)
	if warn {
		d.told = now
	}
	k.save()
	k.mu.Unlock()
	if warn {
		k.log.Warn("Less than min_free is free for a Nix store, and nothing more of it can be deleted: jobs and pins hold the rest, or something else fills the disk",
			"store", s.Name(), "free", size(done.Free), "min_free", size(least))
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 4; i++ { //nolint:mnd // the units below
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
