package engineapi

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/moby/moby/client"
)

// Connect connects a container to a network, unless it is, and returns its address there.
func (e *Engine) Connect(ctx context.Context, network, container string) (netip.Addr, error) {
	e.calls.Add(3)
	_, err := e.c.NetworkConnect(ctx, network, client.NetworkConnectOptions{Container: container})
	if err != nil && !connected(err) {
		return netip.Addr{}, fmt.Errorf("connect container %s to a job's network: %w", container, err)
	}
	n, err := e.c.NetworkInspect(ctx, network, client.NetworkInspectOptions{})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("inspect network %s: %w", network, err)
	}
	c, err := e.c.ContainerInspect(ctx, container, client.ContainerInspectOptions{})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("inspect container %s: %w", container, err)
	}
	if c.Container.NetworkSettings != nil {
		for name, at := range c.Container.NetworkSettings.Networks {
			if at != nil && at.IPAddress.IsValid() && (at.NetworkID == n.Network.ID || name == n.Network.Name) {
				return at.IPAddress, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("container %s has no address in the job's network: is it running?", container)
}

func connected(err error) bool {
	return taken(err) || strings.Contains(err.Error(), "already connected")
}

// disconnectOthers takes containers that are not a runner's out of a network that cannot be removed for them.
func (e *Engine) disconnectOthers(ctx context.Context, id string, refusal error) {
	if !used(refusal) {
		return
	}
	e.calls.Add(1)
	n, err := e.c.NetworkInspect(ctx, id, client.NetworkInspectOptions{})
	if err != nil {
		return // the removal is tried again, and says what is wrong
	}
	for container, c := range n.Network.Containers {
		if !strings.HasPrefix(c.Name, "skerry-") {
			e.calls.Add(1)
			_, _ = e.c.NetworkDisconnect(ctx, id, client.NetworkDisconnectOptions{Container: container, Force: true})
		}
	}
}
