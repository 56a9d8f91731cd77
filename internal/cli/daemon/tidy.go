package daemon

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
)

// tidySecond is how long after its start the runner looks once more for what earlier processes left: what an
// engine was asked to make before the kill, and made after the first look.
const tidySecond = 3 * time.Minute

// tidyLater lets engines be tidied once more, unless ctx ends before. Their executors know the environments that
// this process has made since.
func (d *Daemon) tidyLater(ctx context.Context, keep []executor.Ref) {
	d.tidying.Go(func() {
		timer := time.NewTimer(tidySecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			d.tidy(ctx, keep)
		case <-ctx.Done():
		}
	})
}

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
	for i, path := range used {
		used[i] = filepath.Dir(path)
	}
	if err := embedded.Prune(d.o.StateDir, used); err != nil {
		d.log.Warn("Agents of earlier versions could not be removed", "error", err)
	}
}
