package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"gitlab.com/skerry/skerry/internal/config"
)

// Main runs the program with the process's arguments and streams and returns its exit code.
func Main(build Build) int {
	streams := Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Color: term.IsTerminal(int(os.Stderr.Fd()))}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := NewProgram(os.Args, streams, build)
	return p.Execute(ctx, os.Args[1:])
}

// Execute runs one command line and returns the exit code. Errors are logged.
func (p *Program) Execute(ctx context.Context, args []string) int {
	root := New(p)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code, show := exitCode(err)
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
