package engineapi

import (
	"context"
	"fmt"
)

// IDs is how many users and groups containers of a rootless Podman have; 0 where it does not tell. It is asked until it has answered once.
func (e *Engine) IDs(ctx context.Context) (users, groups int, err error) {
	if known := e.ids.Load(); known != nil {
		return known[0], known[1], nil
	}
	type ids []struct{ Size int }
	var info struct {
		Host struct{ IDMappings struct{ UIDMap, GIDMap ids } }
	}
	if err := e.again(ctx, func(ctx context.Context) error { return e.askPodman(ctx, "info", &info) }); err != nil {
		return 0, 0, fmt.Errorf("ask for the engine's ids: %w", err)
	}
	sum := func(all ids) (n int) {
		for _, r := range all {
			n += r.Size
		}
		return n
	}
	users, groups = sum(info.Host.IDMappings.UIDMap), sum(info.Host.IDMappings.GIDMap)
	e.ids.Store(&[2]int{users, groups})
	return users, groups, nil
}
