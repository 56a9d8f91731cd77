package nix

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
)

// collectOptions are the flags of `nix gc`.
type collectOptions struct {
	keepFor time.Duration
	free    string
	max     string
	all     bool
	dryRun  bool
}

func (c *command) collect() *cobra.Command {
	var o collectOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete what nothing holds",
		Long: "Delete paths that no job has used for keep_for, and more, the longest unused first, while less than min_free is free; flags say otherwise than the configuration. " +
			"What a job that runs knows of, and what is pinned, is never deleted; jobs need not be stopped. It works on every store, or on the one that --store names.",
		Args: words(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			what, err := o.collection(cmd)
			if err != nil {
				return usage(cmd, err)
			}
			return c.with(cmd, Stores.Known, func(s Stores, some []Store) error { return c.collectIn(cmd, s, some, what) })
		},
	}
	c.flags(cmd, "this store alone")
	c.jsonFlag(cmd)
	f := cmd.Flags()
	f.DurationVar(&o.keepFor, "keep-for", 0, "keep what a job has used within this time, instead of keep_for")
	f.StringVar(&o.free, "free", "", "have so much free afterwards, a size (\"20GB\") or a share of the file system (\"10%\"), instead of min_free")
	f.StringVar(&o.max, "max", "", "end when so much has been deleted, a size")
	f.BoolVar(&o.all, "all", false, "delete all that nothing holds, however lately it was used")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be deleted")
	return cmd
}

// collection reads the flags.
func (o collectOptions) collection(cmd *cobra.Command) (Collection, error) {
	w := Collection{DryRun: o.dryRun}
	given := cmd.Flags().Changed("keep-for")
	switch {
	case o.all && given:
		return w, errors.New("--all and --keep-for exclude each other")
	case o.keepFor < 0:
		return w, errors.New("--keep-for must not be negative")
	case o.all || given:
		w.KeepFor = &o.keepFor
	}
	if o.free != "" {
		b, err := config.ParseFree(o.free)
		if err != nil {
			return w, fmt.Errorf("--free %w", err)
		}
		w.FreeBytes, w.FreePercent = b.Bytes, b.Percent
	}
	if o.max != "" {
		n, err := config.ParseSize(o.max)
		if err == nil && n == 0 {
			err = fmt.Errorf("must be more than nothing")
		}
		if err != nil {
			return w, fmt.Errorf("--max %w", err)
		}
		w.MaxFreed = n
	}
	return w, nil
}

// collectIn collects in one store after the other; what goes wrong in one does not keep it from the others.
func (c *command) collectIn(cmd *cobra.Command, s Stores, some []Store, what Collection) error {
	if len(some) == 0 {
		return errNone
	}
	done, errs := []Collected{}, []error{}
	for _, store := range some {
		got, err := s.Collect(cmd.Context(), store.Name, what)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", store.Name, err))
			continue
		}
		got.Store = store.Name
		if got.Paths == nil {
			got.Paths = []string{}
		}
		done = append(done, got)
		if !c.json {
			c.showCollected(got, what.DryRun)
		}
	}
	if c.json {
		errs = append(errs, c.encode(done))
	}
	return errors.Join(errs...)
}

func (c *command) showCollected(got Collected, dryRun bool) {
	verb := "deleted"
	if dryRun {
		verb = "would delete"
		for _, p := range got.Paths {
			c.program.Say("%s", program.Cell(p))
		}
		if more := got.Count - len(got.Paths); more > 0 {
			c.program.Say("and %d more", more)
		}
	}
	kept := ""
	if got.Kept > 0 {
		kept = fmt.Sprintf("; kept %d that a job came to use meanwhile", got.Kept)
	}
	c.program.Say("%s: %s %d paths with %s%s; %s are free", got.Store, verb, got.Count, size(got.Bytes), kept, size(got.Free))
}
