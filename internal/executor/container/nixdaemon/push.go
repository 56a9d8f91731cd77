package nixdaemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/nixstore/courier"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

type (
	// Push says where what the jobs of a domain build is pushed to.
	Push = courier.Route
	// Pushed is what a push has come to.
	Pushed = courier.Pushed
)

// pushState is what this process knows of the pushes of a domain. It belongs to Keeper.mu.
type pushState struct {
	wanted bool      // there may be something
	now    bool      // somebody is at it
	after  time.Time // not to be tried again before
	wait   time.Duration
	left   int  // paths in the queue when it was looked at last
	quiet  bool // then all jobs were over whose roots have not been released
	by     *courier.Courier
}

// maxPushWait is how long it is at most until a push that has failed is tried again.
const maxPushWait = 10 * time.Minute

// wantsPush reports whether it is time to push. The caller holds Keeper.mu.
func (d *domain) wantsPush(now time.Time) bool {
	return d.Spec.Push != nil && d.push.wanted && !d.push.now && !now.Before(d.push.after)
}

// wantPush has pushed what is in the queue, or will be, by the next process if need be. The caller holds mu.
func (k *Keeper) wantPush(d *domain) {
	d.push.wanted = true
	if !d.Unpushed {
		d.Unpushed = true
		k.save()
	}
	k.wakeTender()
}

// beginPush pushes beside the jobs. The caller holds mu.
func (k *Keeper) beginPush(d *domain) {
	d.push.now, d.push.wanted = true, false
	k.spawn(func() {
		select {
		case k.pushing <- struct{}{}:
			defer func() { <-k.pushing }()
		case <-k.ctx.Done():
			return
		}
		k.pushBeside(d)
	})
}

// pushesAtOnce is how many domains push at once: they compress.
const pushesAtOnce = 2

func (k *Keeper) pushBeside(d *domain) {
	k.mu.Lock()
	s, left, used := d.Spec, d.push.left, d.Used
	d.push.quiet = false
	if d.push.by == nil {
		d.push.by = &courier.Courier{Name: s.Name(), Log: k.log}
		if k.o.Path != "" {
			d.push.by.Dir = filepath.Dir(k.o.Path)
		}
	}
	by := d.push.by
	k.mu.Unlock()
	done := Pushed{Left: left}
	var err error
	if s.Push != nil {
		done, err = by.Push(k.ctx, *s.Push, queue{k: k, d: d, s: s}, left)
	}
	if errors.Is(err, ErrNoStore) {
		err, done.Failed = nil, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &d.push
	p.now, p.left = false, done.Left
	switch {
	case k.ctx.Err() != nil:
		return
	case err != nil:
		p.wanted = true
		if done.Paths > 0 { // it gets on
			p.wait = 0
		}
		p.wait = min(max(2*p.wait, k.o.Tend), maxPushWait)
		p.after = time.Now().Add(p.wait)
		k.log.Warn("What jobs have built in a Nix store could not be pushed to its binary cache; it is kept and tried again", "store", s.Name(),
			"left", done.Left, "again in", p.wait, "error", err)
	default:
		p.wait, p.after = 0, time.Time{}
		// A job that has been here meanwhile may not have said yet that it is over; it will, or the next process finds out.
		if !p.wanted && d.users == 0 && d.Unpushed && p.quiet && d.Used.Equal(used) {
			d.Unpushed = false
			k.save()
		}
	}
	if p.wanted {
		k.wakeTender()
	}
	if done.Paths > 0 {
		k.log.Info("What jobs have built in a Nix store was pushed to its binary cache", "store", s.Name(), "paths", done.Paths, "sent", size(done.Bytes))
	}
	if k.o.Pushed != nil && !d.gone {
		k.o.Pushed(s.Name(), done)
	}
}

// queue is what is to be pushed of a domain, as its courier sees it.
type queue struct {
	k *Keeper
	d *domain
	s Spec
}

// Wake implements courier.Store.
func (q queue) Wake(ctx context.Context) (done func(), err error) {
	done = q.k.task(q.d)
	if err := q.k.wake(ctx, q.d); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// Queue implements courier.Store.
func (q queue) Queue(ctx context.Context) (nixd.Pending, error) { return q.k.queue(ctx, q.d, q.s) }

// Pushed implements courier.Store.
func (q queue) Pushed(ctx context.Context, paths []string) error {
	for some := range slices.Chunk(paths, releaseAtOnce) {
		var n int
		if err := q.k.ask(ctx, q.s, &n, append([]string{nixd.CommandPushed}, some...)...); err != nil {
			return err
		}
	}
	return nil
}

// Archives implements courier.Store.
func (q queue) Archives(ctx context.Context) (io.ReadWriteCloser, error) {
	return q.k.attach(ctx, q.s, nixd.CommandArchives)
}

// attachTo runs a command of package nixd in a daemon that runs, and connects to its input and output.
func (k *Keeper) attachTo(ctx context.Context, s Spec, command ...string) (io.ReadWriteCloser, error) {
	e, err := k.connect(ctx)
	if err != nil {
		return nil, err
	}
	return e.Attach(ctx, s.Name(), "0:0", nixd.Ready, append([]string{carrier.Exe, nixd.Command}, command...)...)
}

// queue has what ended jobs have built put into the queue, and says what is in it.
func (k *Keeper) queue(ctx context.Context, d *domain, s Spec) (nixd.Pending, error) {
	began := time.Now()
	if s.Agent.Volume != "" { // the engine's clock may be another one
		began = began.Add(-otherClock)
	}
	live, err := k.o.Live(s.Domain)
	if err != nil {
		return nixd.Pending{}, fmt.Errorf("find out which jobs have the store: %w", err)
	}
	k.mu.Lock()
	over := d.over
	d.over = nil
	k.mu.Unlock()
	quiet := !slices.ContainsFunc(live, func(job string) bool { return !slices.Contains(over, job) })
	for {
		some := over[:min(len(over), releaseAtOnce)]
		order, err := json.Marshal(nixd.Over{Jobs: some, Live: live, AsOf: began})
		var p nixd.Pending
		if err == nil {
			err = k.ask(ctx, s, &p, nixd.CommandQueue, string(order))
		}
		if err != nil {
			k.mu.Lock()
			d.over = append(d.over, over...)
			k.mu.Unlock()
			return p, err
		}
		if over = over[len(some):]; len(over) == 0 {
			k.mu.Lock()
			d.push.quiet = d.push.quiet || quiet
			k.mu.Unlock()
			return p, nil
		}
	}
}
