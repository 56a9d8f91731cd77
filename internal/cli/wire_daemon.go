package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/poll"
	"gitlab.com/skerry/skerry/internal/status"
)

// daemon is a runner at work: poller, engine and journal, wired together.
type daemon struct {
	log     *slog.Logger
	version plan.Version
	place   place
	journal *journal.Journal
	engine  *engine.Engine
	poller  *poll.Poller
	board   *status.Board
	numbers poll.Numbers // CI_CONCURRENT_PROJECT_ID

	jobs     context.Context //nolint:containedctx // of all jobs: its cause says what becomes of them when the runner stops
	stopJobs context.CancelCauseFunc
	adopted  sync.WaitGroup

	mu      sync.Mutex
	runners map[string]*runner
}

// runner is one runner entry with its connection to its coordinator.
type runner struct {
	config *config.Runner
	client *gitlab.Client

	mu  sync.Mutex
	tls gitlab.TLSData // as of the last job
}

// daemonOptions is what a daemon is made of.
type daemonOptions struct {
	stateDir string
	workDir  string
	user     string
	systemID string
	version  plan.Version
	log      *slog.Logger
}

// newDaemon opens the state directory and puts the parts together. Close it.
func newDaemon(ctx context.Context, o daemonOptions) (*daemon, error) {
	if err := journal.StateDir(o.stateDir); err != nil {
		return nil, err
	}
	j, err := journal.Open(o.stateDir, journal.Options{Logger: o.log})
	if err != nil {
		return nil, err
	}
	agent, err := embedded.Install(o.stateDir)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	d := &daemon{
		version: o.version, journal: j, runners: map[string]*runner{}, board: newBoard(o),
		place: place{workDir: o.workDir, envDir: environments(o, j.Owner()), agent: agent, user: o.user, systemID: o.systemID},
	}
	d.log = slog.New(d.board.CountLog(o.log.Handler()))
	d.jobs, d.stopJobs = context.WithCancelCause(context.WithoutCancel(ctx))
	d.engine = engine.New(engine.Options{
		Journal: j, StateDir: o.stateDir, Version: o.version, Logger: d.log, Events: events(d.board),
		Executor:    func(r plan.Runner) (executor.Executor, error) { return newExecutor(r, d.log) },
		Coordinator: d.coordinator,
	})
	d.poller = poll.New(poll.Options{Handle: d.handle, Logger: d.log, Observer: d.board, Load: poll.HostLoad()})
	return d, nil
}

// environments is where the shell executor makes its environments: in the state directory, which only
// the runner can enter, unless jobs run as another user.
func environments(o daemonOptions, owner string) string {
	if o.user == "" {
		return filepath.Join(o.stateDir, "envs")
	}
	return filepath.Join("/var/lib/skerry", owner)
}

func (d *daemon) close() error { return d.journal.Close() }

// set takes over a configuration: new, changed and removed runners.
func (d *daemon) set(c *config.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	settings := poll.Settings{Concurrent: c.Concurrent, CheckInterval: c.Interval()}
	runners := map[string]*runner{}
	for _, rc := range c.Active() {
		key := runnerKey(rc)
		if runners[key] != nil {
			d.log.Warn("Two runners have the same url and token; the second is not used", "runner", rc.Name, "line", rc.Line)
			continue
		}
		r, err := d.newRunner(c, rc)
		if err != nil {
			d.log.Error("Runner cannot be used", "runner", rc.Name, "error", err)
			continue
		}
		runners[key] = r
		settings.Runners = append(settings.Runners, poll.Runner{
			Key: key, Name: rc.Name, Limit: rc.Limit, RequestConcurrency: rc.RequestConcurrency,
			UnhealthyLimit: rc.UnhealthyRequestsLimit, UnhealthyInterval: duration(rc.UnhealthyInterval),
			Request: func(ctx context.Context, last string) (poll.Answer, error) { return d.request(ctx, r, last) },
		})
	}
	d.runners = runners
	d.board.SetRunners(c.Concurrent, boardRunners(c))
	d.poller.Set(settings)
}

func (d *daemon) newRunner(c *config.Config, rc *config.Runner) (*runner, error) {
	client, err := gitlab.New(gitlab.Options{
		URL:              rc.URL,
		TLS:              gitlab.TLS{CAFile: rc.TLSCAFile, CertFile: rc.TLSCertFile, KeyFile: rc.TLSKeyFile},
		Info:             d.info(rc),
		Logger:           d.log,
		ConnectionMaxAge: duration(c.ConnectionMaxAge),
		Observe: func(endpoint gitlab.Endpoint, code int, took time.Duration) {
			d.board.RequestDone(runnerKey(rc), string(endpoint), "", code, took)
		},
	})
	if err != nil {
		return nil, err
	}
	return &runner{config: rc, client: client}, nil
}

// info is what the coordinator is told about a runner of this program.
func (d *daemon) info(rc *config.Runner) gitlab.Info {
	return gitlab.Info{
		Name: "gitlab-runner", Version: d.version.Version, Revision: d.version.Revision,
		Platform: d.version.Platform, Architecture: d.version.Arch,
		Executor: rc.Executor, Shell: rc.Shell,
		Features: gitlab.Supported(gitlab.ExecutorFeatures{Shared: rc.Executor == executorShell}),
	}
}

// request asks a runner's coordinator for a job.
func (d *daemon) request(ctx context.Context, r *runner, lastUpdate string) (poll.Answer, error) {
	res, err := r.client.RequestJob(ctx, gitlab.JobRequest{
		Token: r.config.Token, SystemID: d.place.systemID, LastUpdate: lastUpdate, Info: d.info(r.config),
	})
	var a poll.Answer
	if res != nil {
		a = poll.Answer{Status: res.Status, Payload: res.Payload, LastUpdate: res.LastUpdate, RetryAfter: res.RetryAfter}
		if res.Payload != nil {
			r.mu.Lock()
			r.tls = res.TLS
			r.mu.Unlock()
		}
	}
	return a, err
}

// handle runs a job that the poller got; it returns when nothing of the job is left to do.
func (d *daemon) handle(_ context.Context, key string, payload []byte, slot *poll.Slot) {
	d.mu.Lock()
	r := d.runners[key]
	d.mu.Unlock()
	if r == nil {
		d.log.Warn("A job arrived for a runner that has just been removed; the coordinator gives it to another", "runner", key)
		return
	}
	j, err := gitlab.Translate(payload)
	if err != nil {
		d.log.Error("A job could not be understood; the coordinator gives it to another runner", "runner", r.config.Name, "error", err)
		return
	}
	r.mu.Lock()
	tls := r.tls
	r.mu.Unlock()
	entry, err := d.place.entry(r.config, tls)
	if err != nil {
		d.log.Error("A job could not be started", "job", j.ID, "error", err)
		return
	}
	project := fmt.Sprintf("%s/%d", key, j.ProjectID)
	number := d.numbers.Take(project)
	defer d.numbers.Free(project, number)
	d.log.Info("Job received", "job", j.ID, "project", j.ProjectID, "runner", r.config.ShortToken(), "name", j.Name)
	err = d.engine.Run(d.jobs, engine.Assignment{
		Job: j, Payload: payload, Runner: entry, RunnerKey: key, ProjectKey: project,
		Slot: plan.Slot{Concurrent: slot.ID(), Project: number},
	})
	d.report(j.ID, err)
}

// report logs how a job left the engine.
func (d *daemon) report(id int64, err error) {
	switch {
	case err == nil:
	case errors.Is(err, engine.ErrDetach):
		d.log.Info("Job goes on and is adopted by the next start", "job", id)
	default:
		d.log.Error("Job could not be brought to its end", "job", id, "error", err)
	}
}

// adopt goes on with the jobs of an earlier process and removes what no job needs any more.
func (d *daemon) adopt(ctx context.Context) error {
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
		slot := d.poller.Adopt(rec.RunnerKey, rec.ConcurrentID)
		d.numbers.Reserve(rec.ProjectKey, rec.ProjectID)
		d.log.Info("Job adopted", "job", rec.JobID, "state", rec.State)
		d.adopted.Go(func() {
			defer slot.Release()
			defer d.numbers.Free(rec.ProjectKey, rec.ProjectID)
			d.report(rec.JobID, d.engine.Resume(d.jobs, rec))
		})
	}
	if local, err := d.place.entry(&config.Runner{Executor: executorShell}, gitlab.TLSData{}); err == nil {
		kinds[executorShell] = local
	}
	for kind, entry := range kinds {
		exec, err := newExecutor(entry, d.log)
		if err == nil {
			err = exec.Reconcile(ctx, executor.OwnerID(d.journal.Owner()), keep)
		}
		if err != nil {
			d.log.Warn("Left-over environments could not all be removed; it is tried again at the next start", "executor", kind, "error", err)
		}
	}
	d.expire(ctx)
	return nil
}

// expire removes what was kept of jobs that GitLab had dropped, once its time is over.
func (d *daemon) expire(ctx context.Context) {
	if err := d.engine.Expire(ctx); err != nil {
		d.log.Warn("Kept results could not be cleaned up", "error", err)
	}
}

// coordinator implements engine.Options.Coordinator: the runner's own connection while its entry is
// in the configuration, else one made of what was journaled.
func (d *daemon) coordinator(r plan.Runner, id int64, token string) (engine.Coordinator, error) {
	d.mu.Lock()
	known := d.runners[runnerKey(&config.Runner{URL: r.URL, Token: r.Token})]
	d.mu.Unlock()
	if known != nil {
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

// survives says why jobs would not outlive this process; nil when they do.
func (d *daemon) survives(ctx context.Context) error {
	entry, err := d.place.entry(&config.Runner{Executor: executorShell}, gitlab.TLSData{})
	if err != nil {
		return err
	}
	exec, err := newExecutor(entry, d.log)
	if err != nil {
		return err
	}
	if s, ok := exec.(executor.Survivor); ok {
		return s.Survives(ctx)
	}
	return nil
}
