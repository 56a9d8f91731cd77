package cli

import (
	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

func newList(p *program.Program) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the runners of the configuration",
		Long: "List the runners of the configuration, one log line each on standard error with the runner's name, " +
			"executor, token and address. With --log-format json other programs can read it.",
		RunE: func(*cobra.Command, []string) error { return runList(p, path) },
	}
	p.ConfigFlag(cmd, &path)
	return cmd
}

// runList shows whole tokens, as GitLab Runner does: NixOS's module reads them from here.
func runList(p *program.Program, path string) error {
	opts := p.ConfigOptions()
	opts.NoSystemID = true
	c, err := p.Load(path, opts)
	if err != nil {
		return err
	}
	p.Logger.Info("runners of the configuration", "ConfigFile", path)
	for _, r := range c.Runners {
		p.Logger.Info(r.Name, "Executor", r.Executor, "Token", r.Token, "URL", r.URL)
	}
	return nil
}
