package cli

import (
	"context"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/nix"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/control"
)

// newNix returns the command `nix`, about the stores of the running runner.
func newNix(p *program.Program) *cobra.Command {
	return nix.New(p, &storesRunner{program: p})
}

// storesRunner finds the runner whose stores a command is about.
type storesRunner struct {
	running

	program *program.Program
}

// Flags implements nix.Runner.
func (r *storesRunner) Flags(cmd *cobra.Command) { r.flags(r.program, cmd) }

// Connect implements nix.Runner.
func (r *storesRunner) Connect(context.Context) (nix.Stores, error) {
	c, err := r.client(r.program)
	if err != nil {
		return nil, err
	}
	return stores{c}, nil
}

// stores are those of a running runner.
type stores struct{ c *control.Client }

// Stat implements nix.Stores.
func (s stores) Stat(ctx context.Context) ([]nix.Store, error) { return s.c.NixStores(ctx) }

// Known implements nix.Stores.
func (s stores) Known(ctx context.Context) ([]nix.Store, error) { return s.c.NixKnown(ctx) }

// List implements nix.Stores.
func (s stores) List(ctx context.Context, store string) ([]nix.Path, error) {
	return s.c.NixPaths(ctx, store)
}

// Collect implements nix.Stores.
func (s stores) Collect(ctx context.Context, store string, c nix.Collection) (nix.Collected, error) {
	return s.c.NixCollect(ctx, store, c)
}

// Pin implements nix.Stores.
func (s stores) Pin(ctx context.Context, store, name string, paths []string) ([]string, error) {
	return s.c.NixPin(ctx, store, name, paths)
}

// Unpin implements nix.Stores.
func (s stores) Unpin(ctx context.Context, store, name string) ([]string, error) {
	return s.c.NixUnpin(ctx, store, name)
}

// Close implements nix.Stores.
func (s stores) Close() { s.c.Close() }
