package daemon

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
)

// Service is what Serve serves.
type Service struct {
	Config *config.Config
	Listen string        // address of the metrics server, before the configuration's
	Stop   time.Duration // within which cancelled jobs must have ended; 0: the configuration's in force
	// Follow reads the configuration again when its file changes and on HUP, and replaces its tokens before
	// they expire.
	Follow bool
	// Mortal has the first TERM or INT cancel the jobs: it comes when the container ends that they are in, too.
	Mortal bool
	// Loaded is told of each configuration that comes into force while it is followed; nil: nobody is.
	Loaded func(*config.Config) error
}

// Serve adopts the jobs of an earlier process, removes what it left, takes jobs, and follows signals and
// the configuration until a signal, the end of ctx or the quota ends it and all jobs are over or left.
func (d *Daemon) Serve(ctx context.Context, s Service) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)

	how := stopping{within: func() time.Duration { return cmp.Or(s.Stop, d.inForce().Stop()) }}
	if err := errors.Join(d.survives(ctx), persistent(d.o.StateDir)); err != nil {
		d.log.Warn("Jobs will not survive a restart of this runner: "+err.Error(), "executor", executorShell)
	} else {
		how.survives = !s.Mortal
	}
	stopSessions, err := d.serveSessions(ctx, s.Config)
	if err != nil {
		return err
	}
	defer stopSessions()
	d.set(s.Config)
	d.board.ConfigurationLoaded(nil)
	stopMetrics, err := d.serveMetrics(ctx, cmp.Or(s.Listen, s.Config.ListenAddress))
	if err != nil {
		return err
	}
	defer stopMetrics()
	defer d.serveControl(ctx)()
	tidy := newTidying(ctx)
	defer d.tidying.Wait()
	defer tidy.stop()
	if err := d.adopt(ctx, tidy); err != nil {
		return err
	}
	d.board.SetReady(true)
	stopNotifying := d.notifyReady()
	defer stopNotifying()
	d.log.Info("Runner is ready", "config", s.Config.Path, "state_dir", d.o.StateDir, "runners", len(s.Config.Active()),
		"concurrent", s.Config.Concurrent, "version", d.o.Version.Version, "pid", os.Getpid())
	d.quota.start()
	defer d.quota.close()

	reload := make(chan struct{}, 1)
	stopFollowing := d.followConfig(ctx, s, reload)
	defer stopFollowing()
	over := make(chan struct{})
	go func() {
		defer close(over)
		d.poller.Run(context.WithoutCancel(ctx))
		d.adopted.Wait()
	}()
	drained := d.followSignals(ctx, signals, reload, over, how)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), how.within())
	defer cancel()
	d.containers.StopOffers() // copies of images that would hold up the removal of environments
	d.engine.Wait(after)
	if drained { // nobody is in a hurry, and perhaps nobody starts a runner here again
		d.finishTidying(after, tidy)
	}
	if lost := d.lost.Load(); lost != nil {
		return *lost
	}
	return nil
}

// followConfig watches the configuration and its tokens until stop is called.
func (d *Daemon) followConfig(ctx context.Context, s Service, reload chan struct{}) (stop func()) {
	if !s.Follow {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	options := config.Options{Executors: Executors()}
	changed := make(chan struct{}, 1)
	var group sync.WaitGroup
	group.Go(func() {
		config.Watcher{
			Path: s.Config.Path, Options: options, Reload: reload,
			Changed: func(e config.Event) {
				d.changed(e, s.Loaded)
				poke(changed)
			},
		}.Run(ctx, s.Config)
	})
	group.Go(func() { d.newRotation(s.Config.Path, options, changed, reload).run(ctx) })
	return func() {
		cancel()
		group.Wait()
	}
}

// poke sends on a channel that holds at most one message.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// inForce is the configuration in force.
func (d *Daemon) inForce() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}

// changed takes over what the watcher saw.
func (d *Daemon) changed(e config.Event, loaded func(*config.Config) error) {
	d.board.ConfigurationLoaded(e.Err)
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		d.log.Error("The configuration is gone; what it said last stays in force until it is back", "error", e.Err)
		return
	case e.Err != nil:
		d.log.Error("The changed configuration is not valid; the earlier one stays in force", "error", e.Err)
		return
	}
	if loaded != nil {
		if err := loaded(e.Config); err != nil {
			d.log.Error("Not all of the changed configuration could be taken over", "error", err)
		}
	}
	ShowProblems(d.log, e.Config)
	old := d.inForce()
	for key, changed := range map[string]bool{
		"listen_address": old.ListenAddress != e.Config.ListenAddress,
		"session_server": old.SessionServer != e.Config.SessionServer,
		"state_dir":      old.StateDir != e.Config.StateDir,
	} {
		if changed {
			d.log.Warn("The changed " + key + " takes effect at the next start")
		}
	}
	d.set(e.Config)
	d.log.Info("Configuration loaded", "runners", len(e.Config.Active()), "concurrent", e.Config.Concurrent)
}

// ShowProblems logs what is odd in a configuration and which of its runners cannot be used.
func ShowProblems(log *slog.Logger, c *config.Config) {
	for _, w := range c.Warnings {
		log.Warn(w.Error())
	}
	for _, r := range c.Runners {
		if r.Refused != nil {
			log.Error("This runner is not used, the others are: "+r.Refused.Error(), "runner", r.ShortToken(), "name", r.Name)
		}
	}
}
