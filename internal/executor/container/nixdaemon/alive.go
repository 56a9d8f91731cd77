package nixdaemon

import (
	"context"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// madeOf notes of which image a daemon is made, and reports whether that is another than before.
func (k *Keeper) madeOf(d *domain, imageID string) (first bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	first = d.ImageID != imageID
	if first {
		d.ImageID, d.unsaved = imageID, true
	}
	if d.unsaved {
		k.save()
	}
	return first
}

// serves notes that a daemon runs. One that has been started, or that this process sees
// for the first time, is asked how it is.
func (k *Keeper) serves(d *domain, started bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d.life != nil && !started {
		return
	}
	l, s := &life{known: make(chan struct{})}, d.Spec
	d.life = l
	k.spawn(func() { k.inspect(d, l, s) })
}

// inspectTime is how long a daemon may take until it serves: it may try its sandbox first.
const inspectTime = 3 * time.Minute

func (k *Keeper) inspect(d *domain, l *life, s Spec) {
	ctx, cancel := context.WithTimeout(k.ctx, inspectTime)
	defer cancel()
	defer close(l.known)
	if l.err = k.ask(ctx, s, &l.info, nixd.CommandInfo, "--wait=2m"); l.err != nil {
		return // the jobs' gateways say so
	}
	on := l.info.Sandbox == "on"
	k.mu.Lock()
	if k.o.Sandbox != nil && !d.gone {
		k.o.Sandbox(s.Name(), on)
	}
	k.mu.Unlock()
	if !on && s.Auto() && k.firstOf(s) {
		k.log.Warn("NIX BUILDS WITHOUT A SANDBOX in this store: builds see the files and the network of the daemon's container, and what they make may depend on it; "+
			"docs/nix.md says what the sandbox needs, and sandbox = \"required\" in [runners.nix] refuses jobs without it", "store", s.Name(), "for", s.For, "why", l.info.Why)
	}
}

// firstOf reports whether this process has not been told yet of the store's sandbox. Stores of single jobs count as one.
func (k *Keeper) firstOf(s Spec) bool {
	name := s.Name()
	if s.Alone() {
		name = ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	first := !k.warned[name]
	k.warned[name] = true
	return first
}

// Unsandboxed waits for the daemon of s, which Ensure has seen to, and tells whether its builds are without Nix's sandbox
// although they were to have it where that is possible, and why.
func (k *Keeper) Unsandboxed(ctx context.Context, s Spec) (why string, off bool) {
	k.mu.Lock()
	l := k.domain(s.Name()).life
	k.mu.Unlock()
	if l == nil {
		return "", false
	}
	select {
	case <-l.known:
	case <-ctx.Done():
		return "", false
	case <-k.ctx.Done():
		return "", false
	}
	return l.info.Why, l.err == nil && s.Auto() && l.info.Sandbox != "on"
}
