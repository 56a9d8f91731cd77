package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/daemon"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/systemid"
)

// singleOptions is what `run-single` is told.
type singleOptions struct {
	configPath string
	name       string // --runner
	maxBuilds  int
	wait       int // seconds
	shutdown   int // seconds
	dirs       directories
	runner     *program.RunnerFlags
}

func newRunSingle(p *program.Program) *cobra.Command {
	var o singleOptions
	cmd := &cobra.Command{
		Use:   "run-single",
		Short: "Run the jobs of one runner, one at a time",
		Long: "Run the jobs of one runner, one at a time: the one with the name --runner of the configuration, else the one that the flags " +
			"and their environment variables describe, for which nothing is registered or written down. It ends after --max-builds jobs, " +
			"when no job has come for --wait-timeout seconds, or on a signal, as run does.",
	}
	p.ConfigFlag(cmd, &o.configPath)
	f := cmd.Flags()
	f.StringVarP(&o.name, "runner", "r", "", "name of the runner in the configuration, instead of flags")
	f.IntVar(&o.maxBuilds, "max-builds", 0, "end after so many jobs; 0 for no limit")
	f.IntVar(&o.wait, "wait-timeout", 0, "end when no job has come for so many seconds; 0 for no limit")
	f.IntVar(&o.shutdown, "shutdown-timeout", 0, "seconds that cancelled jobs have to end in; 0 for the configuration's, or 30")
	o.dirs.stateFlag(p, cmd)
	o.runner = program.AddRunnerFlags(f)
	cmd.SetUsageFunc(program.Usage)
	f.SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runSingle(cmd.Context(), p, o) }
	return cmd
}

func runSingle(ctx context.Context, p *program.Program, o singleOptions) error {
	if o.maxBuilds < 0 || o.wait < 0 || o.shutdown < 0 {
		return &program.UsageError{Command: p.Name + " run-single", Err: errors.New("--max-builds, --wait-timeout and --shutdown-timeout must not be negative")}
	}
	c, err := o.config(p)
	if err != nil {
		return err
	}
	if err := c.Refused(); err != nil {
		return err
	}
	for _, w := range c.Warnings {
		p.Logger.Warn(w.Error())
	}
	given := o.dirs.state != "" || c.StateDir != ""
	if err := o.dirs.resolve(c); err != nil {
		return err
	}
	d, err := o.daemon(ctx, p, c, given)
	if err != nil {
		return err
	}
	err = d.Serve(ctx, daemon.Service{Config: c, Stop: time.Duration(o.shutdown) * time.Second})
	return errors.Join(err, d.Close())
}

// config makes a configuration of one runner, for one job at a time.
func (o *singleOptions) config(p *program.Program) (*config.Config, error) {
	options := config.Options{Env: p.Env, Executors: daemon.Executors()}
	if o.name == "" {
		return o.fromFlags(p, options)
	}
	path, err := filepath.Abs(o.configPath)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", o.configPath, err)
	}
	c, err := config.Load(path, options)
	if err != nil {
		return nil, err
	}
	picked, err := program.Selector{Name: o.name}.Pick(c)
	if err != nil {
		return nil, err
	}
	if len(picked) > 1 {
		return nil, fmt.Errorf("%s has %d runners with the name %q: give each a name of its own", path, len(picked), o.name)
	}
	if set := o.runner.Given(); len(set) > 0 {
		p.Logger.Warn("With --runner the configuration decides: these flags have no effect", "flags", strings.Join(set, " "))
	}
	if err := p.FollowConfig(c); err != nil {
		return nil, err
	}
	one := *c
	one.Concurrent, one.Runners, one.Warnings = 1, picked, nil
	one.SessionServer = config.SessionServer{} // it is that of run, which may work beside
	if picked[0].KeepFailed != nil {
		p.Logger.Warn("keep_failed has no effect here: nobody would remove the environment")
		alone := *picked[0]
		alone.KeepFailed = nil
		one.Runners = []*config.Runner{&alone}
	}
	return &one, nil
}

// fromFlags makes the runner of flags and variables go through the checks of a file.
func (o *singleOptions) fromFlags(p *program.Program, options config.Options) (*config.Config, error) {
	var r config.Runner
	if err := o.runner.Apply(&r, p.Env); err != nil {
		return nil, &program.UsageError{Command: p.Name + " run-single", Err: err}
	}
	var missing []string
	for _, need := range []struct{ flag, value string }{{"--url", r.URL}, {"--token", r.Token}, {"--executor", r.Executor}} {
		if strings.TrimSpace(need.value) == "" && (need.flag != "--token" || r.TokenFile == "") {
			missing = append(missing, need.flag)
		}
	}
	if len(missing) > 0 {
		return nil, &program.UsageError{Command: p.Name + " run-single", Err: fmt.Errorf("give %s, or a runner of the configuration with --runner", strings.Join(missing, ", "))}
	}
	draft, err := config.NewDraft("command line", nil, options)
	if err != nil {
		return nil, err
	}
	if err := draft.Append(&r); err != nil {
		return nil, err
	}
	c := *draft.Config()
	return &c, nil
}

// maxSingles is how many run-single processes may share one directory for their state.
const maxSingles = 100

// daemon opens a state directory of this process's own: several run-singles, and a run, may work beside
// each other. The first one that nobody holds is taken, so what an interrupted process left is adopted.
func (o *singleOptions) daemon(ctx context.Context, p *program.Program, c *config.Config, given bool) (*daemon.Daemon, error) {
	options := daemon.Options{
		StateDir: o.dirs.state, WorkDir: o.dirs.work, SystemID: c.SystemID, Version: p.Version(), Certificates: p.Certificates(), Log: p.Logger,
		Quota: daemon.Quota{Jobs: o.maxBuilds, Wait: time.Duration(o.wait) * time.Second},
	}
	for n := 1; ; n++ {
		if !given {
			options.StateDir = filepath.Join(o.dirs.state, "single-"+strconv.Itoa(n))
		}
		if c.SystemID == "" {
			var err error
			if options.SystemID, err = systemid.Of(options.StateDir); options.SystemID == "" {
				return nil, err
			}
		}
		d, err := daemon.New(ctx, options)
		var held *journal.HeldError
		if !given && n < maxSingles && errors.As(err, &held) {
			continue
		}
		return d, err
	}
}
