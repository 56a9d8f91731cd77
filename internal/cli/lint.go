package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/daemon"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
)

func newLint(p *program.Program) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "lint",
		Short: "Check the configuration",
		Long: "Check the configuration: every error and warning with its line on standard output. The exit code is " +
			"0 when run could use all of it (there may be warnings), else 1.",
		RunE: func(cmd *cobra.Command, _ []string) error { return runLint(p, path) },
	}
	p.ConfigFlag(cmd, &path)
	return cmd
}

func runLint(p *program.Program, path string) error {
	opts := p.ConfigOptions()
	opts.NoSystemID, opts.Executors = true, daemon.Executors()
	c, err := config.Load(path, opts)
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, problem := range problems {
			p.Say("error: %s", problem)
		}
		return fmt.Errorf("%s cannot be used: %d errors", path, len(problems))
	}
	if err != nil {
		return err
	}
	for _, w := range c.Warnings {
		p.Say("warning: %s", w)
	}
	refused := 0
	for _, r := range c.Runners {
		if !errors.As(r.Refused, &problems) {
			continue
		}
		refused++
		for _, problem := range problems {
			p.Say("error: %s", problem)
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d runners in %s cannot be used", refused, len(c.Runners), path)
	}
	p.Say("%s: %d runners, %d warnings", path, len(c.Runners), len(c.Warnings))
	return nil
}
