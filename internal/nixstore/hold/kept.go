package hold

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Kept holds paths as temporary roots of a connection that stays open. When the daemon closes it, it is opened anew at
// once and told of all paths again; until then nobody is ready.
type Kept struct {
	dial    nixconn.Dialer
	hangups *nixconn.Hangups
	log     *slog.Logger
	turn    chan struct{} // holds one value: who has taken it uses the connection

	mu     sync.Mutex
	up     *nixconn.Conn // nil: not open
	paths  map[nixwire.StorePath]bool
	closed bool
	stop   func()         // ends work; nil: there is none
	work   sync.WaitGroup // what opens the connection anew

	version nixwire.Version // with turn
	forget  func()          // with turn
}

// NewKept returns a holder that connects when there is something to be held.
func NewKept(d nixconn.Dialer, h *nixconn.Hangups, log *slog.Logger) *Kept {
	k := &Kept{dial: d, hangups: h, log: log, turn: make(chan struct{}, 1), paths: map[nixwire.StorePath]bool{}}
	k.turn <- struct{}{}
	return k
}

// Hold implements Holder.
func (k *Kept) Hold(ctx context.Context, paths []nixwire.StorePath) error {
	return k.use(ctx, func(up *nixconn.Conn) error {
		if err := up.Each(k.version, nixwire.AddTempRoot, paths, nil, nil); err != nil {
			return err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, p := range paths {
			k.paths[p] = true
		}
		return nil
	})
}

// Release implements Holder. The daemon keeps the root until the connection ends, which does no harm.
func (k *Kept) Release(paths []nixwire.StorePath) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range paths {
		delete(k.paths, p)
	}
}

// Ready implements Holder.
func (k *Kept) Ready(ctx context.Context) error {
	k.mu.Lock()
	ready := k.up != nil || len(k.paths) == 0
	k.mu.Unlock()
	if ready {
		return nil
	}
	return k.use(ctx, func(*nixconn.Conn) error { return nil })
}

// use calls f with the connection, which is opened first where there is none. What fails because the connection was
// lost meanwhile is tried once more.
func (k *Kept) use(ctx context.Context, f func(*nixconn.Conn) error) error {
	select {
	case <-k.turn:
		defer func() { k.turn <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var failed error
	for range 2 {
		up, err := k.connection(ctx)
		if err != nil {
			return err
		}
		if failed = f(up); failed == nil {
			return nil
		}
		k.lost(up)
	}
	return fmt.Errorf("hold store paths: %w", failed)
}

// connection returns the open connection, or opens one and tells it of all paths.
func (k *Kept) connection(ctx context.Context) (*nixconn.Conn, error) {
	k.mu.Lock()
	up := k.up
	all := make([]nixwire.StorePath, 0, len(k.paths))
	for p := range k.paths {
		all = append(all, p)
	}
	k.mu.Unlock()
	if up != nil {
		return up, nil
	}
	if k.forget != nil {
		k.forget()
		k.forget = nil
	}
	up, v, err := k.dial.Open(ctx)
	if err != nil {
		return nil, err
	}
	valid, err := up.Root(v, all, nil)
	if err != nil {
		_ = up.Close() // of no use
		return nil, fmt.Errorf("hold store paths: %w", err)
	}
	for _, p := range all {
		if !valid[p] {
			k.log.Warn("A store path of the job was deleted while the Nix daemon was away", "path", string(p))
		}
	}
	k.version = v
	k.mu.Lock()
	k.up = up
	k.mu.Unlock()
	revive := func() {
		k.lost(up)
		k.revive(context.WithoutCancel(ctx))
	}
	if k.forget, err = k.hangups.Watch(up.UnixConn, revive); err != nil {
		k.lost(up)
		return nil, err
	}
	return up, nil
}

func (k *Kept) lost(up *nixconn.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.up == up {
		k.up = nil
	}
	_ = up.Close() // it is lost
}

// revive begins to open the connection anew.
func (k *Kept) revive(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.stop != nil {
		return
	}
	ctx, k.stop = context.WithCancel(ctx)
	k.work.Go(func() {
		for ctx.Err() == nil {
			err := k.Ready(ctx)
			if err == nil {
				break
			}
			k.log.Warn("The job's store paths are not held while the Nix daemon is away", "error", err)
			pause(ctx)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.stop()
		k.stop = nil
	})
}

// pause lets a daemon come that is there and does not serve us.
func pause(ctx context.Context) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Close implements Holder.
func (k *Kept) Close() error {
	k.mu.Lock()
	k.closed = true
	if k.stop != nil {
		k.stop()
	}
	k.mu.Unlock()
	k.work.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.up != nil {
		_ = k.up.Close() // nothing to be said
		k.up = nil
	}
	return nil
}
