package daemon

import (
	"context"
	"errors"
	"fmt"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// pruner is an executor whose engine keeps what jobs have used.
type pruner interface {
	Prune(ctx context.Context, owner executor.OwnerID) (disk.Pruned, error)
}

// pruneEngines removes what nothing uses from the engines of the configuration, from each once. What went is returned with an
// error, too.
func (d *Daemon) pruneEngines(ctx context.Context) (all disk.Pruned, err error) {
	seen := map[engineapi.Address]bool{}
	var errs []error
	for _, r := range d.engineRunners() {
		a, err := d.place.engines.address(ctx, dockerOf(r))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if seen[a] {
			continue
		}
		seen[a] = true
		one, err := d.pruneEngine(ctx, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("engine %s: %w", a.Host, err))
		}
		all.Images += one.Images
		all.Containers += one.Containers
		all.Bytes += one.Bytes
	}
	return all, errors.Join(errs...)
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
