package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/build"
	"gitlab.com/skerry/skerry/internal/cli/daemon"
	"gitlab.com/skerry/skerry/internal/cli/doctor"
	"gitlab.com/skerry/skerry/internal/cli/logfmt"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/cli/register"
	"gitlab.com/skerry/skerry/internal/cli/service"
	"gitlab.com/skerry/skerry/internal/cli/supervise"
)

// These types are those that all commands share.
type (
	// Program is the process as it was started, which every command gets.
	Program = program.Program
	// Streams are what a command reads and writes.
	Streams = program.Streams
	// Build says which build this is.
	Build = program.Build
)

// NewProgram describes this process. args are os.Args.
func NewProgram(args []string, streams Streams, build Build) *Program {
	return program.New(args, streams, build)
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
			return p.SetUpLog(cmd, debug, level, format)
		},
	}
	root.SetIn(p.Streams.In)
	root.SetOut(p.Streams.Out)
	root.SetErr(p.Streams.Err)
	root.SetVersionTemplate(p.VersionText())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &program.UsageError{Command: cmd.CommandPath(), Err: err}
	})
	flags := root.PersistentFlags()
	flags.BoolVar(&debug, "debug", false, "log what is looked at, too [$RUNNER_DEBUG]")
	flags.StringVarP(&level, "log-level", "l", "info", "least level to log: "+strings.Join(logfmt.Levels(), ", ")+" [$LOG_LEVEL]")
	flags.StringVar(&format, "log-format", "runner", "form of log lines: "+strings.Join(logfmt.Formats(), ", ")+" [$LOG_FORMAT]")
	root.AddCommand(commands(p)...)
	for _, c := range root.Commands() {
		wrapArgs(c)
	}
	return root
}

// commands lists the commands below the root.
func commands(p *Program) []*cobra.Command {
	return append([]*cobra.Command{
		newRun(p),
		newRunSingle(p),
		interruptible(register.New(p, daemon.Executors())),
		newList(p),
		interruptible(newVerify(p)),
		interruptible(newUnregister(p)),
		interruptible(newResetToken(p)),
		newLint(p),
		interruptibleBelow(build.New(p)),
		interruptible(newJobs(p)),
		interruptible(newAttach(p)),
		interruptible(newShell(p)),
		interruptibleBelow(newNix(p)),
		interruptible(doctor.New(p, daemon.Executors())),
		supervise.New(p, daemon.Executors()),
		newVersion(p),
	}, service.Commands(p)...)
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
		return &program.UsageError{Command: cmd.CommandPath(), Err: err}
	}
}
