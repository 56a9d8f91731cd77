package nixdaemon

import (
	"context"
	"errors"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// watch starts a daemon again that ended while jobs need it, or makes it again: somebody has killed its container, or
// removed it. What the jobs' gateways ask meanwhile waits.
func (k *Keeper) watch(d *domain) {
	tick := time.NewTicker(k.o.Look)
	defer tick.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-tick.C:
		}
		k.mu.Lock()
		if d.users == 0 {
			d.watching = false
			k.mu.Unlock()
			return
		}
		s, imageID := d.Spec, d.ImageID
		k.mu.Unlock()
		k.revive(d, s, imageID)
	}
}

// What is shown of the log of a daemon that has ended.
const (
	lastLines = 5
	lastBytes = 4 << 10
)

func (k *Keeper) revive(d *domain, s Spec, imageID string) {
	if !d.making.TryLock() {
		return // it is being made
	}
	defer d.making.Unlock()
	e, err := k.connect(k.ctx)
	if err != nil {
		return // the jobs' own steps say so
	}
	state, err := settled(k.ctx, e, d, s)
	if engineapi.IsAbsent(err) && imageID != "" {
		err = k.create(k.ctx, e, s, imageID, false)
	} else if state.Created {
		return // whoever has made it starts it
	}
	if err != nil || state.Running {
		return // what is not this process's is made again by the next job
	}
	said, _ := e.Logs(k.ctx, s.Name(), lastLines, lastBytes) // of one that was made just now there are none
	if err := e.Start(k.ctx, s.Name()); err != nil && !errors.Is(err, context.Canceled) {
		k.log.Warn("A Nix daemon has ended and could not be started again", "container", s.Name(), "error", err, "said", said)
		return
	}
	k.serves(d, true)
	k.log.Warn("A Nix daemon had ended while jobs need it: it is started again", "container", s.Name(), "exit", state.ExitCode, "said", said)
}
