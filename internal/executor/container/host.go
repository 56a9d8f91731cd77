package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
)

// Host is what all runner entries of a process share: the connections to engines and what has been
// found out about them. The zero value is ready. It is safe for concurrent use.
type Host struct {
	mu      sync.Mutex
	engines map[engineapi.Address]*engineapi.Engine
	pools   map[string]*slot.Pool
	helpers map[engineapi.Address]*helpers
}

// helper returns the name of the helper image for an engine.
func (h *Host) helper(ctx context.Context, engine *engineapi.Engine, out io.Writer) (string, error) {
	h.mu.Lock()
	f := h.helpers[engine.Address]
	if f == nil {
		f = &helpers{}
		if h.helpers == nil {
			h.helpers = map[engineapi.Address]*helpers{}
		}
		h.helpers[engine.Address] = f
	}
	h.mu.Unlock()
	return f.find(ctx, engine, out)
}

// keepSlots is how many networks of one kind are kept while no job has them.
const keepSlots = 8

// pool returns the pool of networks of a kind.
func (h *Host) pool(engine *engineapi.Engine, kind slot.Kind, log *slog.Logger) *slot.Pool {
	key := fmt.Sprintf("%v %+v", engine.Address, kind)
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pools[key]
	if p == nil {
		p = slot.NewPool(engine, kind, keepSlots, log)
		if h.pools == nil {
			h.pools = map[string]*slot.Pool{}
		}
		h.pools[key] = p
	}
	return p
}

// engine returns the connection to the engine at a, made once.
func (h *Host) engine(ctx context.Context, a engineapi.Address) (*engineapi.Engine, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.engines[a]; e != nil {
		return e, nil
	}
	e, err := engineapi.Connect(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("%w: is it running, and may this user connect to it?", err)
	}
	if h.engines == nil {
		h.engines = map[engineapi.Address]*engineapi.Engine{}
	}
	h.engines[a] = e
	return e, nil
}

// Close removes the networks that nobody uses and closes the connections.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, p := range h.pools {
		errs = append(errs, p.Close(ctx))
	}
	h.pools = nil
	for _, e := range h.engines {
		_ = e.Close()
	}
	h.engines = nil
	return errors.Join(errs...)
}
