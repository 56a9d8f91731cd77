package container

import (
	"context"
	"fmt"
	"sync"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Host is what all runner entries of a process share: the connections to engines and what has been
// found out about them. The zero value is ready. It is safe for concurrent use.
type Host struct {
	mu      sync.Mutex
	engines map[engineapi.Address]*engineapi.Engine
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

// Close closes the connections.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.engines {
		_ = e.Close()
	}
	h.engines = nil
}
