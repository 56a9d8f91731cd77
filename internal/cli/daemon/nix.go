package daemon

import (
	"fmt"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/executor/shell"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// nix is what an entry's jobs in containers have of a Nix store; nil: nothing.
func nix(r *config.Runner) (*container.Nix, error) {
	n := r.Nix
	if !n.Enabled() {
		return nil, nil //nolint:nilnil // documented
	}
	o := &container.Nix{
		Host: n.Store == config.NixHost, Trust: domain.Trust(n.Trust), Image: n.Image, Path: n.Path, HostSocket: n.HostSocket,
		Closure: n.HostStore == config.NixHostClosure,
		Idle:    *n.IdleTimeout, Collect: nixdaemon.Policy{KeepFor: *n.KeepFor, Every: *n.CollectInterval}, Daemon: nixDaemon(n, false),
	}
	if n.Push != "" {
		key, err := filepath.Abs(n.PushKeyFile)
		if err != nil {
			return nil, fmt.Errorf("runner %q: push_key_file in [runners.nix]: %w", r.Name, err)
		}
		o.Push, o.PushAll = &nixdaemon.Push{To: n.Push, Key: key}, n.PushFrom == config.NixPushAll
	}
	free, err := config.ParseFree(n.MinFree)
	if err != nil {
		return nil, fmt.Errorf("runner %q: min_free in [runners.nix] %w", r.Name, err)
	}
	o.Collect.MinFree, o.Collect.MinFreePercent = free.Bytes, free.Percent
	if n.Separates() && n.Protected != nil {
		closed := nixDaemon(n, true)
		o.Protected = &closed
	}
	check := o.Daemon
	check.Image = "any" // it is known when the engine has told
	if err := check.Validate(); err != nil {
		return nil, fmt.Errorf("runner %q: [runners.nix]: %w", r.Name, err)
	}
	return o, nil
}

// shellNix is what an entry's jobs on this machine itself have of its Nix store; nil: nothing.
func shellNix(r *config.Runner) *shell.Nix {
	if !r.Nix.Enabled() || r.Nix.Store != config.NixHost {
		return nil
	}
	return &shell.Nix{Socket: r.Nix.HostSocket, Path: r.Nix.Path}
}

// nixDaemon is what a daemon of protected or other refs is told.
func nixDaemon(n *config.Nix, protected bool) nixd.Config {
	c := nixd.Config{MaxJobs: n.MaxJobs, Cores: n.Cores, Sandbox: nixd.Sandbox(n.Sandbox), Lines: n.ConfLines()}
	c.Substituters, c.PublicKeys = n.Caches(protected)
	return c
}
