// Package nix has the commands about the Nix stores of jobs: `nix stat`, `ls`, `gc`, `pin` and `unpin`. They ask a running
// runner, which is behind the interface Stores.
package nix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/control"
)

// Stores are the Nix stores that a running runner keeps. Stores are named by Store.Name; a name that is not known is an
// error that says so. What asks a store for something, but Stat, starts its daemon, if need be. Lists are in the order of names.
type Stores interface {
	// Stat describes every store that there is, also those whose daemon does not run.
	Stat(ctx context.Context) ([]Store, error)
	// Known lists them without looking what is in them, which takes long with a large store: Name and For are there.
	Known(ctx context.Context) ([]Store, error)
	// List lists the paths of a store with what holds them.
	List(ctx context.Context, store string) ([]Path, error)
	// Collect deletes what nothing holds, by c. It never deletes what a job that runs knows of.
	Collect(ctx context.Context, store string, c Collection) (Collected, error)
	// Pin keeps paths, which must be in the store, under a name, beside those that the name has already. It returns all of
	// the name's.
	Pin(ctx context.Context, store, name string, paths []string) ([]string, error)
	// Unpin takes a name away and returns its paths; a name that is not there is an error.
	Unpin(ctx context.Context, store, name string) ([]string, error)
	// Close ends the connection to the runner.
	Close()
}

// Runner finds the running runner whose stores a command is about.
type Runner interface {
	// Flags adds the flags that say which runner it is.
	Flags(cmd *cobra.Command)
	// Connect is called once, after the command line was read.
	Connect(ctx context.Context) (Stores, error)
}

type (
	// Store is one store: that of a trust domain.
	Store = control.NixStore
	// Share is a part of a store.
	Share = control.NixShare
	// Path is one path of a store.
	Path = control.NixPath
	// Collection says what to delete. What it does not say is as the configuration has it.
	Collection = control.NixCollection
	// Collected is what a collection has deleted, or would.
	Collected = control.NixCollected
)

// command is what all the commands have.
type command struct {
	program *program.Program
	runner  Runner
	store   string
	json    bool
}

// New returns the command `nix`.
func New(p *program.Program, r Runner) *cobra.Command {
	root := &cobra.Command{
		Use:   "nix",
		Short: "Look at and look after the Nix stores of jobs",
		Long: "Look at and look after the Nix stores that the running runner keeps for its jobs (store = \"shared\" in [runners.nix]). " +
			"It is for the runner's user and root.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Errorf("%q is not expected here", args[0]))
			}
			return cmd.Help()
		},
	}
	c := func() *command { return &command{program: p, runner: r} }
	root.AddCommand(c().stat(), c().list(), c().collect(), c().pin(), c().unpin())
	return root
}

// flags are those of every command.
func (c *command) flags(cmd *cobra.Command, about string) {
	c.runner.Flags(cmd)
	cmd.Flags().StringVar(&c.store, "store", "", about+": its name, or the end of it")
}

func (c *command) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.json, "json", false, "for other programs")
}

func usage(cmd *cobra.Command, err error) error {
	return &program.UsageError{Command: cmd.CommandPath(), Err: err}
}

// with connects, finds out which stores the command line means, and does something with them. list is Stores.Stat or
// Stores.Known.
func (c *command) with(cmd *cobra.Command, list func(Stores, context.Context) ([]Store, error), do func(Stores, []Store) error) error {
	s, err := c.runner.Connect(cmd.Context())
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := list(s, cmd.Context())
	if err != nil {
		return err
	}
	if c.store == "" {
		return do(s, all)
	}
	some := slices.DeleteFunc(slices.Clone(all), func(s Store) bool { return s.Name != c.store && !strings.HasSuffix(s.Name, c.store) })
	switch {
	case len(some) == 0:
		return fmt.Errorf("the runner has no store %q: %s", c.store, names(all))
	case len(some) > 1 && !slices.ContainsFunc(some, func(s Store) bool { return s.Name == c.store }):
		return fmt.Errorf("%q is the end of several stores' names: %s", c.store, names(some))
	case len(some) > 1:
		some = slices.DeleteFunc(some, func(s Store) bool { return s.Name != c.store })
	}
	return do(s, some)
}

// one is with for a command that is about a single store.
func (c *command) one(cmd *cobra.Command, do func(Stores, Store) error) error {
	return c.with(cmd, Stores.Known, func(s Stores, some []Store) error {
		switch len(some) {
		case 0:
			return errNone
		case 1:
			return do(s, some[0])
		}
		return usage(cmd, fmt.Errorf("the runner has several stores: name one with --store: %s", names(some)))
	})
}

var errNone = errors.New("the runner has no Nix store: it makes one for the first job of an entry with store = \"shared\" in [runners.nix]")

func names(all []Store) string {
	if len(all) == 0 {
		return "it has none"
	}
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%s (%s)", s.Name, s.For))
	}
	return strings.Join(out, ", ")
}
