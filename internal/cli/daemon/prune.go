package daemon

import (
	"encoding/json"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
)

// prune removes the agents of other versions that no job uses any more.
func (d *Daemon) prune(records []journal.Record) {
	used := []string{d.place.agent}
	for _, rec := range records {
		var entry plan.Runner
		var options struct {
			Agent string `json:"agent"`
		}
		if json.Unmarshal(rec.Runner, &entry) != nil || json.Unmarshal(entry.Options, &options) != nil {
			d.log.Debug("Agents of earlier versions are kept: nobody can tell which one a job uses", "job", rec.JobID)
			return
		}
		used = append(used, options.Agent)
	}
	daemons, err := container.NixAgents(d.place.envDir)
	if err != nil {
		d.log.Debug("Agents of earlier versions are kept: nobody can tell which one a Nix daemon uses", "error", err)
		return
	}
	used = append(used, daemons...)
	for i, path := range used {
		used[i] = filepath.Dir(path)
	}
	if err := embedded.Prune(d.o.StateDir, used); err != nil {
		d.log.Warn("Agents of earlier versions could not be removed", "error", err)
	}
}
