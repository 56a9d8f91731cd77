// Package supervise is the command supervise, the first process of the runner's own image: it keeps a rootless Podman and
// a runner going, each as a user of its own, and cleans up for them.
package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/calendar"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/supervisor"
)

// The defaults.
const (
	secretConfig  = "/run/secrets/config.toml"
	defaultConfig = "/home/runner/.gitlab-runner/config.toml"
	defaultState  = "/var/lib/skerry"
	defaultSocket = "/run/podman/podman.sock"
)

// options is what `supervise` is told.
type options struct {
	configPath  string // empty: the secret, else defaultConfig
	stateDir    string
	socket      string
	runnerUser  string
	engineUser  string
	engineLevel string
	prune       string // --prune-interval
	pruneAt     calendar.Schedule
	executors   []string
}

// New returns the command. executors are those that `run` has.
func New(p *program.Program, executors []string) *cobra.Command {
	o := options{executors: executors}
	cmd := &cobra.Command{
		Use:   "supervise",
		Short: "Be the first process of the runner's own container",
		Long: "Be the first process of a container that holds a runner and a rootless Podman for its jobs: start both, each as a user of its own, " +
			"start them again when they end, show what they say, and reap what they leave. It is started as root. " +
			"QUIT ends it when the present jobs have ended; TERM and INT cancel them, since none would survive the container; HUP reads the configuration again.",
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), p, o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.configPath, "config", "c", p.EnvDefault("CONFIG_FILE", ""), "configuration file (default "+secretConfig+", if that is not there "+defaultConfig+") [$CONFIG_FILE]")
	f.StringVar(&o.runnerUser, "runner-user", "runner", "user that the runner runs as")
	f.StringVar(&o.engineUser, "engine-user", "podman", "user that Podman runs as")
	f.StringVar(&o.engineLevel, "engine-log-level", p.EnvDefault("PODMAN_LOG_LEVEL", "warn"), "least level that Podman logs: "+strings.Join(engineLevels(), ", ")+" [$PODMAN_LOG_LEVEL]")
	f.StringVar(&o.prune, "prune-interval", p.EnvDefault("PRUNE_INTERVAL", "daily"), "when to remove images and containers that nothing uses: "+calendar.Forms+" [$PRUNE_INTERVAL]")
	o.places(p, cmd)
	cmd.AddCommand(newHealth(p), newPrune(p), newBecome())
	return cmd
}

// places adds the flags that say where runner and engine are found.
func (o *options) places(p *program.Program, cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.stateDir, "state-dir", p.EnvDefault("SKERRY_STATE_DIR", defaultState), "directory for what must survive a restart, on a volume [$SKERRY_STATE_DIR]")
	cmd.Flags().StringVar(&o.socket, "socket", defaultSocket, "where Podman listens")
}

// engineLevels are those of `podman --log-level`.
func engineLevels() []string {
	return []string{"trace", "debug", "info", "warn", "error", "fatal", "panic"}
}

func (o *options) check(p *program.Program) error {
	o.engineLevel = strings.ToLower(o.engineLevel)
	if o.engineLevel == "warning" {
		o.engineLevel = "warn"
	}
	usage := func(text string) error {
		return &program.UsageError{Command: p.Name + " supervise", Err: errors.New(text)}
	}
	switch {
	case !slices.Contains(engineLevels(), o.engineLevel):
		return usage("--engine-log-level must be one of " + strings.Join(engineLevels(), ", ") + ", is " + strings.TrimSpace(o.engineLevel))
	case !filepath.IsAbs(o.stateDir) || !filepath.IsAbs(o.socket):
		return usage("--state-dir and --socket must be absolute paths")
	}
	var err error
	if o.pruneAt, err = calendar.Parse(o.prune); err != nil {
		return usage("--prune-interval (PRUNE_INTERVAL): " + err.Error())
	}
	if p.UID != 0 {
		return errors.New("supervise starts programs as several users and needs root of its container: leave --user out of `podman run`")
	}
	if !contained(os.Getpid(), "/") {
		return errors.New("supervise is for the first process of a container, which this is not: start a runner with `run` here, or the container with `podman run`")
	}
	return nil
}

// contained reports whether the process is in a container, as Podman and Docker make them.
func contained(pid int, root string) bool {
	if pid == 1 {
		return true
	}
	for _, name := range []string{"run/.containerenv", ".dockerenv"} {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			return true
		}
	}
	return false
}

// config is the configuration that the runner gets.
func (o *options) config() (string, error) {
	if o.configPath != "" {
		return filepath.Abs(o.configPath)
	}
	if _, err := os.Stat(secretConfig); err == nil {
		return secretConfig, nil
	}
	return defaultConfig, nil
}

// newBecome is how supervise starts itself to become a program as another user.
func newBecome() *cobra.Command {
	return &cobra.Command{
		Use: "become", Hidden: true, DisableFlagParsing: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			code, err := supervisor.Become(args[0])
			return &program.ExitError{Code: code, Err: err}
		},
	}
}

// run supervises until a signal ends it.
func run(ctx context.Context, p *program.Program, o options) error {
	if err := o.check(p); err != nil {
		return err
	}
	path, err := o.config()
	if err != nil {
		return err
	}
	if err := o.ranges(p.Logger, "/"); err != nil {
		return fmt.Errorf("share out the ids: %w", err)
	}
	l, err := prepare(o, path)
	if err != nil {
		return err
	}
	if err := usable(l.runner, l.config, o.executors); err != nil {
		return err
	}
	return serve(ctx, p, o, l)
}

// usable says why no runner can work with a configuration; nil when one can, or waits for it.
func usable(who account, path string, executors []string) error {
	return supervisor.Seen(who.uid, who.gid, func() error {
		_, err := config.Load(path, config.Options{Executors: executors, NoSystemID: true})
		if program.IsNotExist(err) {
			return nil
		}
		return err
	})
}

// searchPath is PATH of the container, or what it is where nobody has set it.
func searchPath(p *program.Program) string {
	v, _ := p.Env("PATH")
	return cmp.Or(v, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
