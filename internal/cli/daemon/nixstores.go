package daemon

import (
	"context"
	"errors"
	"slices"

	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// controlledStores are the Nix stores of jobs as commands see them through the socket.
type controlledStores struct {
	host *container.Host
	// runners tells the names of runner entries by the scopes of their jobs.
	runners func() map[string]string
}

// Stat implements control.Stores.
func (c controlledStores) Stat(ctx context.Context) []control.NixStore {
	return c.described(c.host.NixStores(ctx))
}

// Known implements control.Stores.
func (c controlledStores) Known() []control.NixStore { return c.described(c.host.KnownNixStores()) }

func (c controlledStores) described(stores []container.NixStore) []control.NixStore {
	names := c.runners()
	var out []control.NixStore
	for _, s := range stores {
		out = append(out, controlStore(s, names))
	}
	return out
}

func controlStore(s container.NixStore, names map[string]string) control.NixStore {
	held := nixd.Share{Paths: s.All.Paths - s.Recent.Paths - s.Dead.Paths, Bytes: s.All.Bytes - s.Recent.Bytes - s.Dead.Bytes}
	out := control.NixStore{
		Name: s.Name, For: s.For, Engine: s.Engine.Host, Daemon: s.Daemon, Nix: s.Info.Nix, Sandbox: s.Info.Sandbox, Why: s.Info.Why, Jobs: s.Jobs,
		All: control.NixShare(s.All), Held: control.NixShare(held), Recent: control.NixShare(s.Recent), Unused: control.NixShare(s.Dead),
		Free: s.Info.Free, Total: s.Info.Total, LastUsed: s.LastUsed,
	}
	for _, scope := range s.Scopes {
		if name := names[scope]; name != "" && !slices.Contains(out.Runners, name) {
			out.Runners = append(out.Runners, name)
		}
	}
	slices.Sort(out.Runners)
	for name, share := range s.Pins {
		if out.Pins == nil {
			out.Pins = map[string]control.NixShare{}
		}
		out.Pins[name] = control.NixShare(share)
	}
	return out
}

// List implements control.Stores.
func (c controlledStores) List(ctx context.Context, store string) ([]control.NixPath, error) {
	k, err := c.keeper(store)
	if err != nil {
		return nil, err
	}
	paths, err := k.Paths(ctx, store)
	out := make([]control.NixPath, len(paths))
	for i, p := range paths {
		out[i] = control.NixPath(p)
	}
	return out, noStore(err)
}

// Collect implements control.Stores.
func (c controlledStores) Collect(ctx context.Context, store string, o control.NixCollection) (control.NixCollected, error) {
	k, err := c.keeper(store)
	if err != nil {
		return control.NixCollected{}, err
	}
	done, err := k.Collect(ctx, store, nixdaemon.Order{
		KeepFor: o.KeepFor, MinFree: o.FreeBytes, MinFreePercent: o.FreePercent, MaxFreed: o.MaxFreed, DryRun: o.DryRun,
	})
	return control.NixCollected{Store: store, Count: done.Count, Paths: done.Paths, Bytes: done.Freed, Kept: done.Kept, Free: done.Free}, noStore(err)
}

// Pin implements control.Stores.
func (c controlledStores) Pin(ctx context.Context, store, name string, paths []string) ([]string, error) {
	k, err := c.keeper(store)
	if err != nil {
		return nil, err
	}
	all, err := k.Pin(ctx, store, name, paths)
	return all, noStore(err)
}

// Unpin implements control.Stores.
func (c controlledStores) Unpin(ctx context.Context, store, name string) ([]string, error) {
	k, err := c.keeper(store)
	if err != nil {
		return nil, err
	}
	were, err := k.Unpin(ctx, store, name)
	return were, noStore(err)
}

func (c controlledStores) keeper(store string) (*nixdaemon.Keeper, error) {
	k, err := c.host.NixKeeper(store)
	return k, noStore(err)
}

func noStore(err error) error {
	if errors.Is(err, nixdaemon.ErrNoStore) {
		return absentError{err}
	}
	return err
}

// scopes are the names of the runner entries by the scopes of their jobs.
func (d *Daemon) scopes() map[string]string {
	names := map[string]string{}
	for _, r := range d.engineRunners() {
		names[scope(r)] = r.Name
	}
	return names
}
