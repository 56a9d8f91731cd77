package daemon

import (
	"context"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// pruner is an executor whose engine keeps what jobs have used.
type pruner interface {
	Prune(ctx context.Context, owner executor.OwnerID) (disk.Pruned, error)
}

// pruneAt removes what nothing uses from the engine that listens on a socket, if the configuration has it, by that name or by
// another. Others' engines are not for it: who asks has this one to himself.
func (d *Daemon) pruneAt(ctx context.Context, socket string) (disk.Pruned, error) {
	for _, r := range d.engineRunners() {
		a, err := d.place.engines.address(ctx, dockerOf(r))
		if err == nil && sameSocket(a.Host, socket) {
			return d.pruneEngine(ctx, r)
		}
	}
	return disk.Pruned{}, nil
}

// sameSocket reports whether an engine's address is that of a socket: links are followed.
func sameSocket(address, socket string) bool {
	path, ok := strings.CutPrefix(address, "unix://")
	if !ok || socket == "" {
		return false
	}
	if path == socket {
		return true
	}
	one, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	other, err := filepath.EvalSymlinks(socket)
	return err == nil && one == other
}

func (d *Daemon) pruneEngine(ctx context.Context, r *config.Runner) (disk.Pruned, error) {
	entry, err := d.place.entry(r, gitlab.TLSData{})
	if err != nil {
		return disk.Pruned{}, err
	}
	exec, err := newExecutor(entry, &d.containers, d.log)
	if err != nil {
		return disk.Pruned{}, err
	}
	p, ok := exec.(pruner)
	if !ok {
		return disk.Pruned{}, nil
	}
	return p.Prune(ctx, executor.OwnerID(d.journal.Owner()))
}
