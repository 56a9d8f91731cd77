package nix

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

func (c *command) pin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin NAME PATH...",
		Short: "Keep paths of a store until they are unpinned",
		Long: "Keep paths, and all that they refer to, in a store until `nix unpin NAME`: a toolchain that every job needs, for example. A name that has paths already gets these beside them. " +
			"The paths must be in the store; a job's log and `nix ls` show them.",
		Example: "  skerry nix pin toolchain /nix/store/0123456789abcdfghijklmnpqrsvwxyz-gcc-14.2.0",
		Args:    words(2, "NAME PATH..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, paths := args[0], args[1:]
			if err := errors.Join(checkName(name), checkPaths(paths)); err != nil {
				return usage(cmd, err)
			}
			return c.one(cmd, func(s Stores, store Store) error {
				all, err := s.Pin(cmd.Context(), store.Name, name, paths)
				if err != nil {
					return err
				}
				c.program.Logger.Info("Pinned", "store", store.Name, "name", name, "paths", len(all))
				return nil
			})
		},
	}
	c.flags(cmd, "the store; needed where there are several")
	return cmd
}

func (c *command) unpin() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unpin NAME",
		Short: "Keep pinned paths no longer",
		Long:  "Take a pin away and show the paths that it has kept. They are deleted by a later collection, unless something else holds them.",
		Args:  words(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName(args[0]); err != nil {
				return usage(cmd, err)
			}
			return c.one(cmd, func(s Stores, store Store) error {
				paths, err := s.Unpin(cmd.Context(), store.Name, args[0])
				for _, p := range paths {
					c.program.Say("%s", program.Cell(p))
				}
				return err
			})
		},
	}
	c.flags(cmd, "the store; needed where there are several")
	return cmd
}

// words wants exactly n arguments, or, where form ends in dots, as many or more.
func words(n int, form string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		more := strings.HasSuffix(form, "...")
		switch {
		case len(args) < n:
			return &program.UsageError{Command: cmd.CommandPath(), Err: fmt.Errorf("give %s", form)}
		case len(args) > n && !more:
			return &program.UsageError{Command: cmd.CommandPath(), Err: fmt.Errorf("%q is not expected here", args[n])}
		}
		return nil
	}
}

var (
	pinName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	storePath = regexp.MustCompile(`^/nix/store/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]{1,211}$`)
)

func checkName(name string) error {
	if !pinName.MatchString(name) {
		return fmt.Errorf("the name of a pin is made of letters, digits, dots, dashes and underscores, and begins with a letter or a digit: %q is none", name)
	}
	return nil
}

func checkPaths(paths []string) error {
	var errs []error
	for _, p := range paths {
		if !storePath.MatchString(p) {
			errs = append(errs, fmt.Errorf("%q is no store path: /nix/store/HASH-NAME, without a file below it", p))
		}
	}
	return errors.Join(errs...)
}
