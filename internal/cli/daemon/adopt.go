package daemon

import (
	"context"
	"encoding/json"
	"fmt"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
)

// adopt goes on with the jobs of an earlier process and removes what no job needs any more.
func (d *Daemon) adopt(ctx context.Context, tidy tidying) error {
	records, err := d.engine.Adoptable()
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	var keep []executor.Ref
	kinds := map[string]plan.Runner{}
	for _, rec := range records {
		ref, err := executor.ParseRef(rec.Ref)
		if err != nil {
			d.log.Error("A journaled job cannot be adopted", "job", rec.JobID, "error", err)
			continue
		}
		keep = append(keep, ref)
		d.quota.began()
		slot := d.poller.Adopt(d.slotKey(rec), rec.ConcurrentID)
		d.numbers.Reserve(rec.ProjectKey, rec.ProjectID)
		d.log.Info("Job adopted", "job", rec.JobID, "state", rec.State)
		holds := d.holds(slot, rec.ProjectKey, rec.ProjectID)
		d.adopted.Go(func() {
			defer slot.Release()
			defer d.quota.ended(false)
			defer holds.Closed()
			d.report(rec.JobID, d.engine.Resume(d.jobs, rec, holds))
		})
	}
	if local, err := d.place.entry(&config.Runner{Executor: executorShell}, gitlab.TLSData{}); err == nil {
		kinds[executorShell] = local
	}
	for kind, entry := range kinds {
		exec, err := newExecutor(entry, &d.containers, d.log)
		if err == nil {
			err = exec.Reconcile(ctx, executor.OwnerID(d.journal.Owner()), keep)
		}
		if err != nil {
			d.log.Warn("Left-over environments could not all be removed; it is tried again at the next start", "executor", kind, "error", err)
		}
	}
	d.tidy(tidy, keep)
	d.tidyLater(tidy, keep)
	d.prune(records)
	d.expire(ctx)
	return nil
}

// slotKey is the runner whose slot an adopted job holds: the one that it was received for, or, when that
// has another key since (its token was replaced), the one with the same address and name.
func (d *Daemon) slotKey(rec journal.Record) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var entry plan.Runner
	if d.runners[rec.RunnerKey] != nil || json.Unmarshal(rec.Runner, &entry) != nil {
		return rec.RunnerKey
	}
	found := ""
	for key, r := range d.runners {
		if r.config.URL == entry.URL && r.config.Name == entry.Name && r.config.Executor == entry.Executor {
			if found != "" {
				return rec.RunnerKey // nobody can tell which
			}
			found = key
		}
	}
	if found == "" {
		return rec.RunnerKey
	}
	return found
}

// expire removes what was kept of jobs that GitLab had dropped, once its time is over.
func (d *Daemon) expire(ctx context.Context) {
	if err := d.engine.Expire(ctx); err != nil {
		d.log.Warn("Kept results could not be cleaned up", "error", err)
	}
}

// coordinator implements engine.Options.Coordinator: the connection of a runner with the same address
// and certificates while there is one in the configuration, else one made of what was journaled.
func (d *Daemon) coordinator(r plan.Runner, id int64, token string) (engine.Coordinator, error) {
	d.mu.Lock()
	known := d.runners[d.identities.keyOf(r.URL, r.Token)]
	d.mu.Unlock()
	if known != nil && known.config.URL == r.URL {
		return known.client.Job(id, token), nil
	}
	client, err := gitlab.New(gitlab.Options{
		URL:    r.URL,
		TLS:    gitlab.TLS{CA: []byte(r.CAPEM), Cert: []byte(r.CertPEM), Key: []byte(r.KeyPEM)},
		Info:   d.info(&config.Runner{Executor: r.Executor, Shell: r.Shell}),
		Logger: d.log,
	})
	if err != nil {
		return nil, err
	}
	return client.Job(id, token), nil
}
