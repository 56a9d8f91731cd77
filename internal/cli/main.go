package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
)

// Main runs the program with the process's arguments and streams and returns its exit code.
func Main(build Build) int {
	streams := Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Color: term.IsTerminal(int(os.Stderr.Fd()))}
	p := NewProgram(os.Args, streams, build)
	return Execute(context.Background(), p, os.Args[1:])
}

// interruptible makes INT and TERM end the context of a command that knows nothing of signals. run and
// run-single give signals a meaning of their own.
func interruptible(c *cobra.Command) *cobra.Command {
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		cmd.SetContext(ctx)
		return run(cmd, args)
	}
	return c
}

// interruptibleBelow is interruptible for all commands below one.
func interruptibleBelow(c *cobra.Command) *cobra.Command {
	for _, below := range c.Commands() {
		interruptible(interruptibleBelow(below))
	}
	return c
}

// unknownCommand makes a usage error of what cobra says, on several lines, of a word that is no command.
func unknownCommand(root *cobra.Command, err error) error {
	var usage *program.UsageError
	if err == nil || errors.As(err, &usage) {
		return err
	}
	text, near, found := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if found {
		text += "; did you mean " + strings.Join(strings.Fields(near), " or ") + "?"
	}
	return &program.UsageError{Command: root.Name(), Err: errors.New(text)}
}

// Execute runs one command line and returns the exit code. Errors are logged.
func Execute(ctx context.Context, p *Program, args []string) int {
	root := New(p)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if cmd == root {
		err = unknownCommand(root, err)
	}
	code, show := program.ExitCode(err)
	if !show {
		return code
	}
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, problem := range problems {
			p.Logger.Error(problem.Error())
		}
		return code
	}
	for line := range strings.Lines(err.Error()) {
		p.Logger.Error(strings.TrimSpace(line))
	}
	return code
}
