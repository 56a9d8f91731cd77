package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/poll"
	"gitlab.com/skerry/skerry/internal/session"
	"gitlab.com/skerry/skerry/internal/status"
)

// Options is what a Daemon is made of.
type Options struct {
	StateDir string // absolute; made when missing
	WorkDir  string // absolute; relative builds_dir and cache_dir begin here
	User     string // --user: whom the shell executor's jobs run as; empty: this process's user
	SystemID string // of this machine, told to coordinators
	Version  plan.Version
	// Certificates are those of instances whose entries name none.
	Certificates program.Certificates
	Quota        Quota // after what it ends by itself
	Log          *slog.Logger
}

// Daemon is a runner at work. Make it with New, use it with Serve, once, and Close it.
type Daemon struct {
	o       Options
	log     *slog.Logger
	clock   clock
	place   place
	journal *journal.Journal
	engine  *engine.Engine
	poller  *poll.Poller
	board   *status.Board
	numbers poll.Numbers // CI_CONCURRENT_PROJECT_ID
	quota   *quota

	jobs     context.Context //nolint:containedctx // of all jobs: its cause says what becomes of them when the runner stops
	stopJobs context.CancelCauseFunc
	adopted  sync.WaitGroup
	tidying  sync.WaitGroup
	lost     atomic.Pointer[error] // of the state directory

	containers container.Host
	engines    *usedEngines
	sessions   *session.Server // nil: no web terminals

	mu         sync.Mutex
	config     *config.Config // in force
	runners    map[string]*runner
	former     map[string]*runner // no longer configured; a job may still arrive for one
	identities identities
}

// runner is one runner entry with its connection to its coordinator.
type runner struct {
	key    string
	config *config.Runner
	client *gitlab.Client

	mu  sync.Mutex
	tls gitlab.TLSData // as of the last job
}

// New opens the state directory and puts the parts together. A *journal.HeldError says that another
// process has the directory.
func New(ctx context.Context, o Options) (*Daemon, error) {
	if err := checkUser(o.User); err != nil {
		return nil, err
	}
	if err := journal.StateDir(o.StateDir); err != nil {
		return nil, stateDirError(o.StateDir, err)
	}
	j, err := journal.Open(o.StateDir, journal.Options{Logger: o.Log})
	if err != nil {
		return nil, stateDirError(o.StateDir, err)
	}
	agent, err := embedded.Install(o.StateDir)
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	d := &Daemon{
		o: o, clock: realClock{}, journal: j, runners: map[string]*runner{}, former: map[string]*runner{}, identities: identities{}, board: newBoard(o),
		place: place{workDir: o.WorkDir, envDir: environments(o, j.Owner()), agent: agent, user: o.User, systemID: o.SystemID, engines: newEngines(o, j.Owner())},
	}
	d.containers.Podman = d.place.engines.podman
	d.log = slog.New(d.board.CountLog(o.Log.Handler()))
	d.engines = &usedEngines{path: filepath.Join(o.StateDir, "engines.json"), now: time.Now, log: d.log}
	d.containers.Evicted = func(e disk.Eviction) { d.board.DiskEvicted(string(e.Kind), e.Size) }
	d.containers.DiskUsed = d.board.DiskUsed
	d.containers.NixSandbox, d.containers.NixGone = d.board.NixSandbox, d.board.NixGone
	d.containers.NixPushed = func(store string, p nixdaemon.Pushed) { d.board.NixPushed(store, status.NixPush(p)) }
	d.jobs, d.stopJobs = context.WithCancelCause(context.WithoutCancel(ctx))
	d.engine = engine.New(engine.Options{
		Journal: j, StateDir: o.StateDir, Version: o.Version, Logger: d.log, Events: events(d.board),
		Executor:    func(r plan.Runner) (executor.Executor, error) { return newExecutor(r, &d.containers, d.log) },
		Coordinator: d.coordinator,
	})
	d.poller = poll.New(poll.Options{Handle: d.handle, Logger: d.log, Observer: d.board, Load: poll.HostLoad()})
	d.quota = newQuota(o.Quota, func(why string) {
		d.log.Info(why)
		d.poller.Drain()
	})
	return d, nil
}

// environments is where the shell executor makes its environments: in the state directory, which only
// the runner can enter, unless jobs run as another user.
func environments(o Options, owner string) string {
	if o.User == "" {
		return filepath.Join(o.StateDir, "envs")
	}
	return filepath.Join("/var/lib/skerry", owner)
}

// Close lets the state directory go. Jobs that Serve left behind go on.
func (d *Daemon) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	return errors.Join(d.containers.Close(ctx), d.journal.Close())
}

// set takes over a configuration: new, changed and removed runners.
func (d *Daemon) set(c *config.Config) {
	d.place.engines.forget()
	d.mu.Lock()
	defer d.mu.Unlock()
	settings := poll.Settings{Concurrent: c.Concurrent, CheckInterval: c.Interval()}
	runners := map[string]*runner{}
	var shown []status.Runner
	keys := d.identities.assign(c.Active())
	for i, rc := range c.Active() {
		r, err := d.newRunner(c, rc, keys[i])
		if err != nil {
			d.log.Error("Runner cannot be used", "runner", rc.ShortToken(), "name", rc.Name, "error", err)
			continue
		}
		runners[r.key] = r
		shown = append(shown, boardRunner(r.key, rc))
		settings.Runners = append(settings.Runners, poll.Runner{
			Key: r.key, Short: rc.ShortToken(), Name: rc.Name, Limit: rc.Limit, RequestConcurrency: rc.RequestConcurrency,
			StrictCheckInterval: rc.StrictCheckInterval != nil && *rc.StrictCheckInterval,
			UnhealthyLimit:      rc.UnhealthyRequestsLimit, UnhealthyInterval: duration(rc.UnhealthyInterval),
			Request: func(ctx context.Context, last string) (poll.Answer, error) { return d.request(ctx, r, last) },
		})
	}
	if len(c.Active()) == 0 {
		d.log.Warn("No runner can be used, so no job is asked for: add one with `register`; the configuration is read again when it changes", "config", c.Path)
	}
	d.retire(runners)
	d.config, d.runners = c, runners
	d.board.SetRunners(c.Concurrent, shown)
	d.poller.Set(settings)
}

// retire keeps the runners that are not among next any more. The caller holds mu.
func (d *Daemon) retire(next map[string]*runner) {
	for key, r := range d.runners {
		if next[key] == nil {
			d.former[key] = r
		}
	}
	for key := range next {
		delete(d.former, key)
	}
}

func (d *Daemon) newRunner(c *config.Config, rc *config.Runner, key string) (*runner, error) {
	client, err := gitlab.New(gitlab.Options{
		URL:              rc.URL,
		TLS:              d.o.Certificates.TLS(rc),
		Info:             d.info(rc),
		Logger:           d.log,
		ConnectionMaxAge: duration(c.ConnectionMaxAge),
		Observe: func(endpoint gitlab.Endpoint, code int, took time.Duration) {
			d.board.RequestDone(key, string(endpoint), "", code, took)
		},
	})
	if err != nil {
		return nil, err
	}
	return &runner{key: key, config: rc, client: client}, nil
}

// info is what the coordinator is told about a runner of this program.
func (d *Daemon) info(rc *config.Runner) gitlab.Info {
	return gitlab.Info{
		Name: "gitlab-runner", Version: d.o.Version.Version, Revision: d.o.Version.Revision,
		Platform: d.o.Version.Platform, Architecture: d.o.Version.Arch,
		Executor: rc.Executor, Shell: rc.Shell,
		Features: gitlab.Supported(features(rc.Executor, d.sessions != nil)),
	}
}

// checkState says why no job must be taken: nothing of it could be found again, or even be begun, when the
// state directory is gone. The runner ends then, so that whoever starts it gives it a new one.
func (d *Daemon) checkState() error {
	err := d.journal.Lost()
	if err != nil && d.lost.CompareAndSwap(nil, &err) {
		d.log.Error("No more jobs are taken, and the runner ends when the present ones have: start it again", "state_dir", d.o.StateDir, "error", err)
		d.poller.Drain()
	}
	return err
}

// request asks a runner's coordinator for a job.
func (d *Daemon) request(ctx context.Context, r *runner, lastUpdate string) (poll.Answer, error) {
	if err := errors.Join(d.checkState(), d.ready(ctx, r.config)); err != nil {
		return poll.Answer{}, err
	}
	res, err := r.client.RequestJob(ctx, gitlab.JobRequest{
		Token: r.config.Token, SystemID: d.place.systemID, LastUpdate: lastUpdate, Info: d.info(r.config), Session: d.offer(),
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
func (d *Daemon) handle(_ context.Context, key string, payload []byte, slot *poll.Slot) {
	d.quota.began()
	defer d.quota.ended(true)
	d.mu.Lock()
	r := d.runners[key]
	if r == nil {
		r = d.former[key] // it was removed while it asked
	}
	d.mu.Unlock()
	if err := d.checkState(); err != nil {
		d.log.Error("A job arrived that could not be recorded; the coordinator gives it to another", "error", err)
		return
	}
	j, err := jobpayload.Translate(payload)
	if err != nil {
		d.log.Error("A job could not be understood; the coordinator gives it to another runner", "runner", r.config.ShortToken(), "name", r.config.Name, "error", err)
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
	entry.SessionTimeout = d.sessionTimeout()
	project := fmt.Sprintf("%s/%d", key, j.ProjectID)
	number := d.numbers.Take(project)
	holds := d.holds(slot, project, number)
	defer holds.Closed()
	d.log.Info("Job received", "job", j.ID, "project", j.ProjectID, "runner", r.config.ShortToken(), "name", j.Name)
	err = d.engine.Run(d.jobs, engine.Assignment{
		Job: j, Payload: payload, Runner: entry, RunnerKey: key, ProjectKey: project,
		Slot:  plan.Slot{Concurrent: slot.ID(), Project: number},
		Holds: holds,
	})
	d.report(j.ID, err)
}

// holds are what a job gives back early of its slot and of its number within the project. Closed is for the job's
// end as well.
func (d *Daemon) holds(slot *poll.Slot, project string, number int) engine.Holds {
	return engine.Holds{Idle: slot.Park, Held: slot.Vacate, Closed: sync.OnceFunc(func() {
		slot.FreeNumber()
		d.numbers.Free(project, number)
	})}
}

// report logs how a job left the engine.
func (d *Daemon) report(id int64, err error) {
	switch {
	case err == nil:
	case errors.Is(err, engine.ErrDetach):
		d.log.Info("Job goes on and is adopted by the next start", "job", id)
	default:
		d.log.Error("Job could not be brought to its end", "job", id, "error", err)
	}
}
