package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/plan"
)

// runOptions is what `run` is told.
type runOptions struct {
	program    *Program
	configPath string
	workDir    string // --working-directory; empty: the current one
	stateDir   string // --state-dir; empty: the configuration's, else beside work directory or configuration
	user       string // --user
	listen     string // --listen-address
	version    plan.Version
	log        *slog.Logger
}

func newRun(p *Program) *cobra.Command {
	var o runOptions
	var service string
	var syslog bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Take jobs from GitLab and run them",
		Long: "Take jobs from GitLab and run them until a signal says otherwise: QUIT takes no more jobs and ends when " +
			"the present ones have; TERM and INT leave running jobs to the next start where they survive it, a second one cancels them; HUP reads the configuration again.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.program = p
			o.log = p.Logger
			o.version = p.version()
			return run(cmd.Context(), o)
		},
	}
	p.configFlag(cmd, &o.configPath)
	f := cmd.Flags()
	f.StringVarP(&o.workDir, "working-directory", "d", "", "directory that relative builds_dir and cache_dir begin in")
	f.StringVar(&o.stateDir, "state-dir", p.envDefault("SKERRY_STATE_DIR", ""), "directory for what must survive a restart [$SKERRY_STATE_DIR]")
	f.StringVarP(&o.user, "user", "u", "", "user to run the shell executor's jobs as")
	f.StringVar(&o.listen, "listen-address", p.envDefault("LISTEN_ADDRESS", ""), "address of the metrics server [$LISTEN_ADDRESS]")
	f.StringVarP(&service, "service", "n", "gitlab-runner", "name of the service; accepted for compatibility")
	f.BoolVar(&syslog, "syslog", false, "accepted for compatibility: under systemd, standard error goes to the journal")
	return cmd
}

// envDefault is an environment variable's value, or def.
func (p *Program) envDefault(key, def string) string {
	if v, ok := p.Env(key); ok && v != "" {
		return v
	}
	return def
}

// version is what jobs and coordinators are told about this build.
func (p *Program) version() plan.Version {
	return plan.Version{Name: "skerry", Version: p.Build.Version, Revision: p.Build.Revision, Platform: runtime.GOOS, Arch: runtime.GOARCH}
}

// stateDirName is the directory for the runner's state beneath the working directory or beside the
// configuration.
const stateDirName = ".skerry"

// resolveDirs makes the directories absolute, changes to the working directory, and finds the state
// directory: flag, key, working directory of -d, else beside the configuration.
func (o *runOptions) resolveDirs(c *config.Config) error {
	path, err := filepath.Abs(o.configPath)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", o.configPath, err)
	}
	o.configPath = path
	named := o.workDir != ""
	if named {
		if err := os.Chdir(o.workDir); err != nil {
			return fmt.Errorf("change to the working directory: %w", err)
		}
	}
	if o.workDir, err = os.Getwd(); err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	switch {
	case o.stateDir != "":
	case c.StateDir != "":
		o.stateDir = c.StateDir
	case named:
		o.stateDir = filepath.Join(o.workDir, stateDirName)
	default:
		o.stateDir = filepath.Join(filepath.Dir(o.configPath), stateDirName)
	}
	o.stateDir, err = filepath.Abs(o.stateDir)
	return err
}

// run takes jobs until it is told to stop.
func run(ctx context.Context, o runOptions) error {
	c, err := config.Load(o.configPath, config.Options{Executors: executors()})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no configuration at %s: make one with `register`, or name another with --config", o.configPath)
	}
	if err != nil {
		return err
	}
	if err := o.resolveDirs(c); err != nil {
		return err
	}
	if err := o.program.FollowConfig(c); err != nil {
		return err
	}
	showProblems(o.log, c)
	d, err := newDaemon(ctx, daemonOptions{
		stateDir: o.stateDir, workDir: o.workDir, user: o.user, systemID: c.SystemID, version: o.version, log: o.log,
	})
	if err != nil {
		return err
	}
	err = d.serve(ctx, o, c)
	return errors.Join(err, d.close())
}

func showProblems(log *slog.Logger, c *config.Config) {
	for _, w := range c.Warnings {
		log.Warn(w.Error())
	}
	if err := c.Refused(); err != nil {
		log.Error(err.Error())
	}
}

// serve runs the daemon: adopt, reconcile, poll, and follow signals and the configuration.
func (d *daemon) serve(ctx context.Context, o runOptions, c *config.Config) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)

	survives := d.survives(ctx)
	if survives != nil {
		d.log.Warn("Jobs will not survive a restart of this runner: "+survives.Error(), "executor", executorShell)
	}
	d.set(c)
	d.board.ConfigurationLoaded(nil)
	stopMetrics, err := d.serveMetrics(ctx, cmp.Or(o.listen, c.ListenAddress))
	if err != nil {
		return err
	}
	defer stopMetrics()
	if err := d.adopt(ctx); err != nil {
		return err
	}
	d.board.SetReady(true)
	d.log.Info("Runner is ready", "config", o.configPath, "state_dir", o.stateDir, "runners", len(c.Active()),
		"concurrent", c.Concurrent, "version", o.version.Version, "pid", os.Getpid())

	reload := make(chan struct{}, 1)
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		config.Watcher{
			Path: o.configPath, Options: config.Options{Executors: executors()}, Reload: reload,
			Changed: func(e config.Event) { d.changed(e) },
		}.Run(watching, c)
	}()
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		d.poller.Run(context.WithoutCancel(ctx))
		d.adopted.Wait()
	}()
	d.follow(ctx, signals, reload, polled, stopping{survives: survives == nil, within: c.Stop()})
	stopWatching()
	<-watched
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Stop())
	defer cancel()
	d.engine.Wait(after)
	return nil
}

func (d *daemon) changed(e config.Event) {
	d.board.ConfigurationLoaded(e.Err)
	if e.Err != nil {
		d.log.Error("The changed configuration is not valid; the earlier one stays in force", "error", e.Err)
		return
	}
	showProblems(d.log, e.Config)
	d.set(e.Config)
	d.log.Info("Configuration loaded", "runners", len(e.Config.Active()), "concurrent", e.Config.Concurrent)
}

// stopping says how a runner may stop.
type stopping struct {
	survives bool // jobs may be left to the next process
	within   time.Duration
}

// follow acts on signals until all jobs are over or left: QUIT drains, the first TERM or INT leaves the
// jobs or cancels them where they could not survive, the second always cancels, the third ends at once.
func (d *daemon) follow(ctx context.Context, signals <-chan os.Signal, reload chan<- struct{}, done <-chan struct{}, how stopping) {
	terms := 0
	ending := ctx.Done()
	for {
		select {
		case <-done:
			return
		case <-ending:
			ending = nil
			d.terminate(how, 1)
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				select {
				case reload <- struct{}{}:
				default:
				}
			case syscall.SIGQUIT:
				d.log.Info("Draining: no more jobs are taken; the runner ends when the present ones have")
				d.poller.Drain()
			default:
				terms++
				if terms > 2 {
					d.log.Warn("Ending at once")
					return
				}
				d.terminate(how, terms)
			}
		}
	}
}

func (d *daemon) terminate(how stopping, times int) {
	d.board.SetReady(false)
	d.poller.Drain()
	if how.survives && times == 1 {
		d.log.Info("Stopping: running jobs go on and are adopted by the next start; a second signal cancels them")
		d.stopJobs(engine.ErrDetach)
		return
	}
	d.log.Info("Stopping: running jobs are cancelled", "within", how.within)
	d.stopJobs(engine.ErrShutdown)
}
