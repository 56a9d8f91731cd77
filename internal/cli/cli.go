package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/logfmt"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// Streams are what a command reads and writes. Logs go to Err.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Color    bool // Err is a terminal
}

// Build says which build this is.
type Build struct {
	Version  string // "1.2.3"
	Revision string // of the source, short
}

// Program is what every command gets: the process as it was started, nothing of it global.
type Program struct {
	Name    string // as called: "skerry" or "gitlab-runner"
	Streams Streams
	Env     func(key string) (string, bool)
	UID     int
	Build   Build
	Output  *logfmt.Output // where Logger writes to
	Logger  *slog.Logger

	levelGiven, formatGiven bool // by a flag or variable, which win over config.toml
}

// NewProgram describes this process. args are os.Args.
func NewProgram(args []string, streams Streams, build Build) *Program {
	name := "skerry"
	if len(args) > 0 && strings.HasPrefix(filepath.Base(args[0]), "gitlab-runner") {
		name = "gitlab-runner"
	}
	out := logfmt.New(streams.Err, streams.Color)
	return &Program{
		Name: name, Streams: streams, Env: os.LookupEnv, UID: os.Getuid(), Build: build,
		Output: out, Logger: out.Logger(),
	}
}

// New returns the root command with all commands below it.
func New(p *Program) *cobra.Command {
	var debug bool
	var level, format string
	root := &cobra.Command{
		Use:           p.Name,
		Short:         "Run GitLab CI jobs on your own machines",
		Version:       p.Build.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return p.setUpLog(cmd, debug, level, format)
		},
	}
	root.SetIn(p.Streams.In)
	root.SetOut(p.Streams.Out)
	root.SetErr(p.Streams.Err)
	root.SetVersionTemplate(p.versionText())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &UsageError{Command: cmd.CommandPath(), Err: err}
	})
	flags := root.PersistentFlags()
	flags.BoolVar(&debug, "debug", false, "log what is looked at, too [$RUNNER_DEBUG]")
	flags.StringVarP(&level, "log-level", "l", "info", "least level to log: "+strings.Join(logfmt.Levels(), ", ")+" [$LOG_LEVEL]")
	flags.StringVar(&format, "log-format", "runner", "form of log lines: "+strings.Join(logfmt.Formats(), ", ")+" [$LOG_FORMAT]")
	root.AddCommand(p.commands()...)
	for _, c := range root.Commands() {
		wrapArgs(c)
	}
	return root
}

// commands lists the commands below the root.
func (p *Program) commands() []*cobra.Command {
	return []*cobra.Command{
		newRun(p),
		interruptible(newRegister(p)),
		newList(p),
		interruptible(newVerify(p)),
		interruptible(newUnregister(p)),
		interruptible(newResetToken(p)),
		newLint(p),
		newVersion(p),
	}
}

// wrapArgs makes a usage error of words that are no flags, with the likely cause.
func wrapArgs(c *cobra.Command) {
	if c.Args != nil {
		return
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := fmt.Errorf("%q is not expected here", args[0])
		if args[0] == "true" || args[0] == "false" {
			err = fmt.Errorf("%q is not expected here: write --flag=%s for flags that are on or off", args[0], args[0])
		}
		return &UsageError{Command: cmd.CommandPath(), Err: err}
	}
}

// setUpLog applies the global flags; what was not given comes from the environment.
func (p *Program) setUpLog(cmd *cobra.Command, debug bool, level, format string) error {
	flags := cmd.Root().PersistentFlags()
	p.levelGiven, p.formatGiven = flags.Changed("log-level"), flags.Changed("log-format")
	if v, ok := p.Env("LOG_LEVEL"); ok && v != "" && !p.levelGiven {
		level, p.levelGiven = v, true
	}
	if v, ok := p.Env("LOG_FORMAT"); ok && v != "" && !p.formatGiven {
		format, p.formatGiven = v, true
	}
	if !flags.Changed("debug") {
		debug = p.envBool("RUNNER_DEBUG") || p.envBool("DEBUG")
	}
	if debug {
		level, p.levelGiven = "debug", true
	}
	if err := p.Output.SetLevel(level); err != nil {
		return &UsageError{Command: cmd.CommandPath(), Err: err}
	}
	if err := p.Output.SetFormat(format); err != nil {
		return &UsageError{Command: cmd.CommandPath(), Err: err}
	}
	return nil
}

func (p *Program) envBool(key string) bool {
	v, _ := p.Env(key)
	return v == "1" || strings.EqualFold(v, "true") || strings.EqualFold(v, "yes")
}

// FollowConfig applies log_level and log_format of config.toml where no flag and no variable said
// otherwise. run calls it for every configuration that it loads.
func (p *Program) FollowConfig(c *config.Config) error {
	if c.LogLevel != "" && !p.levelGiven {
		if err := p.Output.SetLevel(c.LogLevel); err != nil {
			return err
		}
	}
	if c.LogFormat != "" && !p.formatGiven {
		return p.Output.SetFormat(c.LogFormat)
	}
	return nil
}

// configFlag adds -c/--config with the default that GitLab Runner has.
func (p *Program) configFlag(cmd *cobra.Command, path *string) {
	home, _ := p.Env("HOME")
	value := config.DefaultPath(p.UID, home)
	if v, ok := p.Env("CONFIG_FILE"); ok && v != "" {
		value = v
	}
	cmd.Flags().StringVarP(path, "config", "c", value, "configuration file [$CONFIG_FILE]")
}

// load reads a configuration for a command that runs no job: warnings are logged, and a file that
// is not there counts as one without runners.
func (p *Program) load(path string, opts config.Options) (*config.Config, error) {
	c, err := config.Load(path, opts)
	if isNotExist(err) {
		p.Logger.Debug("there is no configuration yet", "ConfigFile", path)
		return &config.Config{Path: path}, nil
	}
	if err != nil {
		return nil, err
	}
	p.logWarnings(c)
	return c, nil
}

func (p *Program) logWarnings(c *config.Config) {
	for _, w := range c.Warnings {
		p.Logger.Debug(w.Error())
	}
}

// configOptions says how commands read configurations.
func (p *Program) configOptions() config.Options { return config.Options{Env: p.Env} }

// Info is what the coordinator is told about this program for an executor and shell.
func (p *Program) Info(executor, shell string, features gitlab.Features) gitlab.Info {
	return gitlab.Info{
		Name: "gitlab-runner", Version: p.Build.Version, Revision: p.Build.Revision,
		Platform: runtime.GOOS, Architecture: runtime.GOARCH, Executor: executor, Shell: shell, Features: features,
	}
}
