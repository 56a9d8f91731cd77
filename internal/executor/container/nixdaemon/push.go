package nixdaemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/nixopt"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixpush"
)

// Push says where what the jobs of a domain build is pushed to.
type Push struct {
	To  string `json:"to"`  // see nixopt.ParsePush
	Key string `json:"key"` // the file with the secret key to sign with; it is read for each push
}

// Pushed is what a push has come to.
type Pushed struct {
	Paths  int   // that were sent
	Bytes  int64 // of their archives
	Failed bool
	Left   int // paths that jobs have built and that are still to be pushed
}

// pushState is what this process knows of the pushes of a domain. It belongs to Keeper.mu.
type pushState struct {
	wanted bool      // there may be something
	now    bool      // somebody is at it
	after  time.Time // not to be tried again before
	wait   time.Duration
	left   int // paths in the queue when it was looked at last
	pusher *nixpush.Pusher
	from   Push // that the pusher is made of
}

// maxPushWait is how long it is at most until a push that has failed is tried again.
const maxPushWait = 10 * time.Minute

// wantsPush reports whether it is time to push. The caller holds Keeper.mu.
func (d *domain) wantsPush(now time.Time) bool {
	return d.Spec.Push != nil && d.push.wanted && !d.push.now && !now.Before(d.push.after)
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
	s, left := d.Spec, d.push.left
	k.mu.Unlock()
	done, err := k.pushAll(k.ctx, d, s, left)
	if errors.Is(err, ErrNoStore) {
		err = nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &d.push
	p.now, p.left = false, done.Left
	switch {
	case k.ctx.Err() != nil:
		return
	case err != nil:
		done.Failed, p.wanted, p.pusher = true, true, nil // another one reads logins anew
		p.wait = min(max(2*p.wait, k.o.Tend), maxPushWait)
		p.after = time.Now().Add(p.wait)
		k.log.Warn("What jobs have built in a Nix store could not be pushed to its binary cache; it is kept and tried again", "store", s.Name(),
			"left", done.Left, "again in", p.wait, "error", err)
	default:
		p.wait, p.after = 0, time.Time{}
		if !p.wanted && d.users == 0 && d.Unpushed {
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

// pushAll pushes until nothing is left.
func (k *Keeper) pushAll(ctx context.Context, d *domain, s Spec, left int) (Pushed, error) {
	sum := Pushed{Left: left}
	if s.Push == nil {
		return sum, nil
	}
	p, err := k.pusher(d, s)
	if err != nil {
		return sum, err
	}
	if err := p.Reach(ctx); err != nil { // before a daemon is started for it
		return sum, err
	}
	defer k.task(d)()
	if err := k.wake(ctx, d); err != nil {
		return sum, err
	}
	from := &archives{k: k, s: s}
	defer from.Close()
	for {
		pending, err := k.queue(ctx, d, s)
		if err != nil {
			return sum, err
		}
		if sum.Left = len(pending.Queue); sum.Left == 0 {
			return sum, nil
		}
		done, err := p.Push(ctx, from, pathsOf(pending))
		sum.Paths, sum.Bytes = sum.Paths+done.Paths, sum.Bytes+done.Bytes
		if err != nil {
			return sum, err
		}
		for path, why := range pending.Bad {
			done.Bad[path] = errors.New(why)
		}
		k.tellBad(s, done.Bad)
		for some := range slices.Chunk(pending.Queue, releaseAtOnce) {
			var n int
			if err := k.ask(ctx, s, &n, append([]string{nixd.CommandPushed}, some...)...); err != nil {
				return sum, err
			}
		}
	}
}

// tellBad tells of what will never be pushed.
func (k *Keeper) tellBad(s Spec, bad map[string]error) {
	for _, path := range slices.Sorted(maps.Keys(bad)) {
		k.log.Error("A path of a Nix store is damaged and is not pushed to its binary cache", "store", s.Name(), "path", path, "error", bad[path])
	}
}

func pathsOf(p nixd.Pending) []nixpush.Path {
	all := make([]nixpush.Path, len(p.Paths))
	for i, path := range p.Paths {
		all[i] = nixpush.Path(path)
	}
	return all
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
			return p, nil
		}
	}
}

// pusher is what pushes for a domain. The key is read anew: it may have been replaced.
func (k *Keeper) pusher(d *domain, s Spec) (*nixpush.Pusher, error) {
	key, err := nixpush.ReadKey(s.Push.Key)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.push.pusher == nil || d.push.from != *s.Push {
		to, err := nixopt.ParsePush(s.Push.To)
		if err != nil {
			return nil, fmt.Errorf("push in [runners.nix] %w", err)
		}
		cache, err := nixpush.Open(to, os.Getenv)
		if err != nil {
			return nil, err
		}
		d.push.pusher, d.push.from = &nixpush.Pusher{Cache: cache, Plain: to.Plain}, *s.Push
		if k.o.Path != "" {
			d.push.pusher.Dir = filepath.Dir(k.o.Path)
		}
	}
	d.push.pusher.Key = key
	return d.push.pusher, nil
}
