package build

import (
	"errors"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/image"
)

var errThisMachine = errors.New("it would take setuid from all programs of this machine and replace settings of Podman: " +
	"it is for an image in the making, which says --in-image")

// prepare is the command that images/runner/Containerfile runs.
func prepare() *cobra.Command {
	var root string
	var dev, sure bool
	cmd := &cobra.Command{
		Use: "prepare-runner", Short: "Make the file system it runs in that of the runner's own image",
		Long: "Make the file system that it runs in that of the runner's own image: users, ranges of ids, settings of Podman, and no program that is setuid. " +
			"images/runner/Containerfile runs it; nothing else has a reason to.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if root == "/" && !sure {
				return &program.UsageError{Command: cmd.CommandPath(), Err: errThisMachine}
			}
			return image.PrepareRunner(root, dev)
		},
	}
	cmd.Flags().StringVar(&root, "root", "/", "the directory that is to be the root of the image")
	cmd.Flags().BoolVar(&dev, "dev", false, "leave the programs that install others")
	cmd.Flags().BoolVar(&sure, "in-image", false, "this is an image in the making, not a machine")
	return cmd
}
