package nix

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

func (c *command) list() *cobra.Command {
	var held bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the paths of a store",
		Long: "List the paths of a store with their sizes and with what holds each directly: job:ID, a job that runs; pin:NAME, a pin; recent:HOUR, when jobs last used it. " +
			"What another path refers to is held with that one.",
		Args: words(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.one(cmd, func(s Stores, store Store) error {
				paths, err := s.List(cmd.Context(), store.Name)
				if err != nil {
					return err
				}
				if held {
					paths = slices.DeleteFunc(paths, func(p Path) bool { return !isHeld(p) })
				}
				return c.showPaths(paths)
			})
		},
	}
	c.flags(cmd, "the store; needed where there are several")
	c.jsonFlag(cmd)
	cmd.Flags().BoolVar(&held, "held", false, "only what a job or a pin holds directly")
	return cmd
}

// isHeld reports whether something holds p that a collection respects whatever it is asked to delete.
func isHeld(p Path) bool {
	return slices.ContainsFunc(p.Roots, func(r string) bool { return !strings.HasPrefix(r, "recent:") })
}

func (c *command) showPaths(paths []Path) error {
	if c.json {
		if paths == nil {
			paths = []Path{}
		}
		return c.encode(paths)
	}
	if len(paths) == 0 {
		c.program.Logger.Info("there is no such path")
		return nil
	}
	w := table(c.program.Streams.Out, "SIZE\tHELD BY\tPATH")
	for _, p := range paths {
		fmt.Fprintf(w, "%s\t%s\t%s\n", size(p.Bytes), program.Cell(strings.Join(p.Roots, ",")), program.Cell(p.Path))
	}
	return w.Flush()
}
