package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

func newVersion(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show which version this is",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), p.VersionText())
			return err
		},
	}
}
