package nix

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

func (c *command) stat() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stat",
		Short: "Show the stores, what is in them, and what holds it",
		Long: "Show every store with who shares it, how its daemon is, how many jobs use it, and how much of it is held (by jobs that run, and by pins), recent (held by nothing, but jobs " +
			"have used it: it is deleted when that is keep_for ago, or when space runs short) and unused (held by nothing, and no job has used it).",
		Args: words(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd, Stores.Stat, func(_ Stores, some []Store) error { return c.showStores(some) })
		},
	}
	c.flags(cmd, "this store alone")
	c.jsonFlag(cmd)
	return cmd
}

func (c *command) showStores(some []Store) error {
	if c.json {
		return c.encode(some)
	}
	if len(some) == 0 {
		c.program.Logger.Info(errNone.Error())
		return nil
	}
	w := table(c.program.Streams.Out, "STORE\tFOR\tDAEMON\tSANDBOX\tJOBS\tPATHS\tSIZE\tHELD\tRECENT\tUNUSED\tFREE\tLAST USED")
	for _, s := range some {
		used := "-"
		if !s.LastUsed.IsZero() {
			used = time.Since(s.LastUsed).Round(time.Second).String() + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, program.Cell(s.For), program.Cell(s.Daemon), program.Cell(s.Sandbox), s.Jobs, s.All.Paths, size(s.All.Bytes),
			size(s.Held.Bytes), size(s.Recent.Bytes), size(s.Unused.Bytes), free(s.Free, s.Total), used)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range some {
		if s.Why != "" {
			c.program.Logger.Warn("Builds run without Nix's sandbox", "store", s.Name, "why", s.Why)
		}
	}
	return nil
}

// encode writes for other programs.
func (c *command) encode(v any) error {
	e := json.NewEncoder(c.program.Streams.Out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func table(out io.Writer, header string) *tabwriter.Writer {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, header)
	return w
}

// size is a number of bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f := float64(n)
	for f >= 1000 && len(units) > 1 {
		f, units = f/1024, units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[0])
}

// free is how much of a file system is free.
func free(n, total int64) string {
	if total <= 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%d%%)", size(n), n*100/total) //nolint:mnd // percent
}
