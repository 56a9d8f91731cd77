package program

import (
	"cmp"
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
	"gitlab.com/skerry/skerry/internal/plan"
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

// New describes this process. args are os.Args.
func New(args []string, streams Streams, build Build) *Program {
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

// SetUpLog applies the global flags; what was not given comes from the environment.
func (p *Program) SetUpLog(cmd *cobra.Command, debug bool, level, format string) error {
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

// What the log is like when nobody says otherwise.
const (
	defaultLevel  = "info"
	defaultFormat = "runner"
)

// FollowConfig applies log_level and log_format of config.toml where no flag and no variable said
// otherwise. run calls it for every configuration that it loads.
func (p *Program) FollowConfig(c *config.Config) error {
	if !p.levelGiven {
		if err := p.Output.SetLevel(cmp.Or(c.LogLevel, defaultLevel)); err != nil {
			return err
		}
	}
	if !p.formatGiven {
		return p.Output.SetFormat(cmp.Or(c.LogFormat, defaultFormat))
	}
	return nil
}

// ConfigFlag adds -c/--config with the default that GitLab Runner has.
func (p *Program) ConfigFlag(cmd *cobra.Command, path *string) {
	home, _ := p.Env("HOME")
	value := config.DefaultPath(p.UID, home)
	if v, ok := p.Env("CONFIG_FILE"); ok && v != "" {
		value = v
	}
	cmd.Flags().StringVarP(path, "config", "c", value, "configuration file [$CONFIG_FILE]")
}

// Load reads a configuration for a command that runs no job: warnings are logged, and a file that
// is not there counts as one without runners.
func (p *Program) Load(path string, opts config.Options) (*config.Config, error) {
	c, err := config.Load(path, opts)
	if IsNotExist(err) {
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

// ConfigOptions says how commands read configurations.
func (p *Program) ConfigOptions() config.Options { return config.Options{Env: p.Env} }

// Info is what the coordinator is told about this program for an executor and shell.
func (p *Program) Info(executor, shell string, features gitlab.Features) gitlab.Info {
	return gitlab.Info{
		Name: "gitlab-runner", Version: p.Build.Version, Revision: p.Build.Revision,
		Platform: runtime.GOOS, Architecture: runtime.GOARCH, Executor: executor, Shell: shell, Features: features,
	}
}

// VersionText is what `version` and --version show.
func (p *Program) VersionText() string {
	return fmt.Sprintf("Version:      %s\nRevision:     %s\nGo version:   %s\nOS/Arch:      %s/%s\n",
		p.Build.Version, p.Build.Revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Say writes a line to standard output.
func (p *Program) Say(format string, args ...any) {
	fmt.Fprintf(p.Streams.Out, format+"\n", args...)
}

// EnvDefault is an environment variable's value, or def.
func (p *Program) EnvDefault(key, def string) string {
	if v, ok := p.Env(key); ok && v != "" {
		return v
	}
	return def
}

// Version is what jobs and coordinators are told about this build.
func (p *Program) Version() plan.Version {
	return plan.Version{Name: "skerry", Version: p.Build.Version, Revision: p.Build.Revision, Platform: runtime.GOOS, Arch: runtime.GOARCH}
}
