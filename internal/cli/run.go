package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/daemon"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/systemid"
)

// runOptions is what `run` is told.
type runOptions struct {
	configPath string
	user       string // --user
	listen     string // --listen-address
	mortal     bool   // --jobs-end-with-container
	dirs       directories
}

func newRun(p *program.Program) *cobra.Command {
	var o runOptions
	var service string
	var syslog bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Take jobs from GitLab and run them",
		Long: "Take jobs from GitLab and run them until a signal says otherwise: QUIT takes no more jobs and ends when " +
			"the present ones have; TERM and INT leave running jobs to the next start where they survive it, else they are cancelled " +
			"within shutdown_timeout; a second one cancels them in any case, a third ends at once; HUP reads the configuration again.",
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), p, o) },
	}
	p.ConfigFlag(cmd, &o.configPath)
	f := cmd.Flags()
	f.StringVarP(&o.dirs.work, "working-directory", "d", "", "directory that relative builds_dir and cache_dir begin in")
	o.dirs.stateFlag(p, cmd)
	f.StringVarP(&o.user, "user", "u", "", "user to run the shell executor's jobs as")
	f.StringVar(&o.listen, "listen-address", p.EnvDefault("LISTEN_ADDRESS", ""), "address of the metrics server [$LISTEN_ADDRESS]")
	f.BoolVar(&o.mortal, "jobs-end-with-container", false, "TERM and INT are told when the container ends that runner and jobs are in: cancel jobs at the first")
	_ = f.MarkHidden("jobs-end-with-container") // it is there; supervise says it
	f.StringVarP(&service, "service", "n", "gitlab-runner", "name of the service; accepted for compatibility")
	f.BoolVar(&syslog, "syslog", false, "accepted for compatibility: under systemd, standard error goes to the journal")
	return cmd
}

// run takes jobs until it is told to stop.
func run(ctx context.Context, p *program.Program, o runOptions) error {
	// Absolute before --working-directory changes where it would be looked for.
	path, err := filepath.Abs(o.configPath)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", o.configPath, err)
	}
	c, err := loadOrAwait(p, path)
	if err != nil {
		return err
	}
	if err := o.dirs.resolve(c); err != nil {
		return err
	}
	if err := p.FollowConfig(c); err != nil {
		return err
	}
	daemon.ShowProblems(p.Logger, c)
	d, err := daemon.New(ctx, daemon.Options{
		StateDir: o.dirs.state, WorkDir: o.dirs.work, User: o.user, SystemID: c.SystemID, Version: p.Version(), Certificates: p.Certificates(), Log: p.Logger,
	})
	if err != nil {
		return err
	}
	err = d.Serve(ctx, daemon.Service{Config: c, Listen: o.listen, Follow: true, Mortal: o.mortal, Loaded: p.FollowConfig})
	return errors.Join(err, d.Close())
}

// loadOrAwait reads the configuration; one that is not there is waited for with no runners, as GitLab
// Runner does: its container is started first and a runner registered in it then.
func loadOrAwait(p *program.Program, path string) (*config.Config, error) {
	options := config.Options{Executors: daemon.Executors()}
	c, err := config.Load(path, options)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	p.Logger.Warn("there is no configuration at " + path + " yet; it is waited for: make one with `register`, or name another with --config")
	draft, err := config.NewDraft(path, nil, options)
	if err != nil {
		return nil, err
	}
	empty := *draft.Config()
	empty.SystemID, err = systemid.Of(empty.Dir())
	if empty.SystemID == "" {
		return nil, err
	}
	return &empty, nil
}

// stateDirName is the directory for the runner's state beneath the working directory or beside the
// configuration.
const stateDirName = ".skerry"

// directories are where a runner works and keeps what must survive a restart.
type directories struct {
	work  string // --working-directory; empty: the current one
	state string // --state-dir; empty: the configuration's, else beside work directory or configuration
}

func (d *directories) stateFlag(p *program.Program, cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.state, "state-dir", p.EnvDefault("SKERRY_STATE_DIR", ""), "directory for what must survive a restart [$SKERRY_STATE_DIR]")
}

// resolve makes the directories absolute, changes to the working directory, and finds the state
// directory: flag, key, working directory of -d, else beside the configuration.
func (d *directories) resolve(c *config.Config) error {
	named := d.work != ""
	if named {
		if err := os.Chdir(d.work); err != nil {
			return fmt.Errorf("change to the working directory: %w", err)
		}
	}
	var err error
	if d.work, err = os.Getwd(); err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	switch {
	case d.state != "":
	case c.StateDir != "":
		d.state = c.StateDir
	case named:
		d.state = filepath.Join(d.work, stateDirName)
	default:
		d.state = filepath.Join(c.Dir(), stateDirName)
	}
	d.state, err = filepath.Abs(d.state)
	return err
}
