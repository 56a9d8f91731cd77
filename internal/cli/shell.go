package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/control"
	"gitlab.com/skerry/skerry/internal/terminal"
)

type shellOptions struct {
	running

	job  string
	args []string
	tty  bool
}

func newShell(p *program.Program) *cobra.Command {
	var o shellOptions
	cmd := &cobra.Command{
		Use:   "shell JOB [-- COMMAND [ARGUMENT…]]",
		Short: "Open a terminal in a job",
		Long: "Open a terminal where the job's scripts run: as the job's user, in the project directory, with the job's variables. " +
			"With a command, or when standard input is no terminal, it is run without one. What is started ends with the command and with the job's environment. The exit code is the shell's or command's.",
		Args: oneJob,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.job, o.args = args[0], args[1:]
			if len(o.args) > 0 && o.args[0] == "--" { // where flags end already
				o.args = o.args[1:]
			}
			return runShell(cmd.Context(), p, o)
		},
	}
	o.flags(p, cmd)
	cmd.Flags().BoolVarP(&o.tty, "tty", "t", false, "a terminal for the command, too")
	cmd.Flags().SetInterspersed(false) // what follows the job is the command's
	return cmd
}

func runShell(ctx context.Context, p *program.Program, o shellOptions) error {
	c, err := o.client(p)
	if err != nil {
		return err
	}
	defer c.Close()
	tty := ownTerminal(p.Streams.In)
	if tty == nil && o.tty {
		return errors.New("--tty needs a terminal as standard input")
	}
	if len(o.args) > 0 && !o.tty {
		tty = nil
	}
	ask := control.Terminal{Args: o.args}
	if tty != nil {
		ask.TTY, ask.Term = true, p.EnvDefault("TERM", "")
		if cols, rows, err := term.GetSize(int(tty.Fd())); err == nil {
			ask.Rows, ask.Cols = clip(rows), clip(cols)
		}
	}
	t, err := c.Terminal(ctx, o.job, ask)
	if err != nil {
		return err
	}
	defer t.Close()
	if tty != nil {
		leave, err := raw(tty, t)
		if err != nil {
			return err
		}
		defer leave()
	}
	go typeIn(p.Streams.In, t) // ends with the process: a read of standard input cannot be interrupted
	return show(ctx, p, t)
}

// ownTerminal is the terminal that in is, else nil.
func ownTerminal(in io.Reader) *os.File {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

func clip(n int) uint16 { return uint16(min(max(n, 0), 1<<16-1)) } //nolint:gosec // bounded

// raw hands every key on as it is typed, and every change of the window's size, until leave is called.
func raw(tty *os.File, t *control.Opened) (leave func(), err error) {
	state, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		for {
			select {
			case <-changed:
			case <-done:
				return
			}
			if cols, rows, err := term.GetSize(int(tty.Fd())); err == nil && t.SendSize(terminal.Size{Rows: clip(rows), Cols: clip(cols)}) != nil {
				return
			}
		}
	})
	return func() {
		signal.Stop(changed)
		close(done)
		t.Close()
		following.Wait()
		_ = term.Restore(int(tty.Fd()), state) // nobody is left to tell
	}, nil
}

// typeIn hands on what is typed.
func typeIn(in io.Reader, t *control.Opened) {
	_, err := io.CopyBuffer(struct{ io.Writer }{t.Writer(terminal.Input)}, struct{ io.Reader }{in}, make([]byte, terminal.MaxData))
	if err == nil {
		_ = t.Send(terminal.InputEnd, nil) // it has ended
	}
}

// show shows what the program says until it ends, whose exit code becomes the command's.
func show(ctx context.Context, p *program.Program, t *control.Opened) error {
	for {
		kind, data, err := t.Receive()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return errors.New("the terminal was cut off: the job's environment has ended, or the runner has")
		}
		switch kind {
		case terminal.Output:
			_, err = p.Streams.Out.Write(data)
		case terminal.ErrorOutput:
			_, err = p.Streams.Err.Write(data)
		case terminal.Exit:
			var ended terminal.Ended
			if err := json.Unmarshal(data, &ended); err != nil {
				return fmt.Errorf("the end of the program: %w", err)
			}
			if ended.Code != 0 {
				return &program.ExitError{Code: ended.Code & 0xff}
			}
			return nil
		case terminal.Begin, terminal.Input, terminal.InputEnd, terminal.Resize:
		default: // of a later version
		}
		if err != nil {
			return fmt.Errorf("show the program's output: %w", err)
		}
	}
}
