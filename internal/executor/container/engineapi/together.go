package engineapi

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// together keeps containers that share volumes from being made at once where the engine cannot do that. Podman before
// 4.8 locks all volumes of a new container, in an order of chance: two containers that share two volumes wait for each
// other for ever, and with them everything that the engine is asked. Source: github.com/containers/podman/pull/20329.
type together struct {
	mu   sync.Mutex
	held map[string]chan struct{} // by volume: closed when it is free
}

// take waits until nobody has any of names, and has them until release is called.
func (t *together) take(ctx context.Context, names []string) (release func(), err error) {
	for {
		wait := t.try(names)
		if wait == nil {
			return func() { t.release(names) }, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try takes all of names, or returns what tells that one of them is free again.
func (t *together) try(names []string) (wait <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range names {
		if c := t.held[n]; c != nil {
			return c
		}
	}
	if t.held == nil {
		t.held = map[string]chan struct{}{}
	}
	free := make(chan struct{})
	for _, n := range names {
		t.held[n] = free
	}
	return nil
}

func (t *together) release(names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range names {
		if c := t.held[n]; c != nil {
			close(c)
			for _, other := range names {
				delete(t.held, other)
			}
			return
		}
	}
}

// locksAll reports whether the engine locks all volumes of a container that it makes.
func (e *Engine) locksAll() bool {
	if e.Kind != Podman {
		return false
	}
	major, rest, _ := strings.Cut(e.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return errA != nil || errB != nil || a < 4 || a == 4 && b < 8
}

// sharedVolumes are the volumes with names that a container is to have, when there are several of them. The ones
// of another container count as one that is named like that.
func sharedVolumes(o client.ContainerCreateOptions) []string {
	if o.HostConfig == nil {
		return nil
	}
	var names []string
	for _, m := range o.HostConfig.Mounts {
		if m.Type == mount.TypeVolume && m.Source != "" {
			names = append(names, m.Source)
		}
	}
	for _, b := range o.HostConfig.Binds {
		if source, _, ok := strings.Cut(b, ":"); ok && !path.IsAbs(source) {
			names = append(names, source)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, from := range o.HostConfig.VolumesFrom {
		container, _, _ := strings.Cut(from, ":")
		names = append(names, "of container "+container)
	}
	if len(names) < 2 && len(o.HostConfig.VolumesFrom) == 0 {
		return nil
	}
	return names
}
