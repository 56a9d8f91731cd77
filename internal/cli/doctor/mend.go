package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// mend asks, runs a finding's commands and looks again.
func (d *doctor) mend(ctx context.Context, l *looked) error {
	if d.yes && l.Loses != "" {
		d.program.Logger.Warn("It is left as it is: what mends it loses something, which needs an answer to a question", "check", l.about(), "loses", l.Loses)
		return nil
	}
	if yes, err := d.ask(l); err != nil || !yes {
		return err
	}
	for _, c := range l.Mend {
		d.program.Logger.Info("Running " + c.String())
		if err := d.exec(ctx, c); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			d.program.Logger.Error("The command failed", "check", l.about(), "command", c.String(), "error", err)
			break // what came before it may have been enough
		}
	}
	l.Result = l.Look(ctx)
	l.Mended = l.Severity <= finding.Fine
	if !d.json {
		d.show(*l)
	}
	return nil
}

// ask reports whether the commands are to be run. No answer is a no.
func (d *doctor) ask(l *looked) (bool, error) {
	if d.yes {
		return true, nil
	}
	loses := ""
	if l.Loses != "" {
		loses = " This loses " + l.Loses + "."
	}
	fmt.Fprintf(d.program.Streams.Err, "Run `%s`?%s [y/N] ", finding.Line(l.Mend), loses)
	answer, err := d.answers.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if err != nil && answer == "" {
		fmt.Fprintln(d.program.Streams.Err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// exec runs a command, whose output goes where logs go. It may leave a service behind, which keeps that open.
func (d *doctor) exec(ctx context.Context, c finding.Command) error {
	name := c[0]
	if _, err := exec.LookPath(name); err != nil && d.machine.Find(name) != "" {
		name = d.machine.Find(name)
	}
	cmd := exec.CommandContext(ctx, name, c[1:]...)
	cmd.Stdout, cmd.Stderr = d.program.Streams.Err, d.program.Streams.Err
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}
