package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersion(p *Program) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show which version this is",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), p.versionText())
			return err
		},
	}
}

func (p *Program) versionText() string {
	return fmt.Sprintf("Version:      %s\nRevision:     %s\nGo version:   %s\nOS/Arch:      %s/%s\n",
		p.Build.Version, p.Build.Revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
