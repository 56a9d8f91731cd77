package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
)

type unregisterOptions struct {
	path  string
	which program.Selector
}

func newUnregister(p *program.Program) *cobra.Command {
	var o unregisterOptions
	cmd := &cobra.Command{
		Use:   "unregister",
		Short: "Delete runners in GitLab and in the configuration",
		Long: "Delete runners in GitLab and in the configuration. Of a runner that was made in GitLab (its token begins " +
			"with glrt-) only this machine is deleted: others may share the runner.",
		RunE: func(cmd *cobra.Command, _ []string) error { return runUnregister(cmd.Context(), p, o) },
	}
	p.ConfigFlag(cmd, &o.path)
	url, _ := p.Env("CI_SERVER_URL")
	token, _ := p.Env("CI_SERVER_TOKEN")
	cmd.Flags().StringVarP(&o.which.Name, "name", "n", "", "the runner with this name")
	cmd.Flags().StringVarP(&o.which.URL, "url", "u", "", "the runner of this GitLab [$CI_SERVER_URL]")
	cmd.Flags().StringVarP(&o.which.Token, "token", "t", "", "the runner with this token [$CI_SERVER_TOKEN]")
	cmd.Flags().BoolVar(&o.which.All, "all-runners", false, "all runners of the configuration")
	cmd.PreRun = func(cmd *cobra.Command, _ []string) {
		// The variables choose only when no flag does: they may be left over from a registration.
		if o.which.Empty() {
			o.which.URL, o.which.Token = url, token
		}
	}
	return cmd
}

func runUnregister(ctx context.Context, p *program.Program, o unregisterOptions) error {
	if !o.which.All && o.which.Name == "" && o.which.Token == "" {
		return &program.UsageError{Command: p.Name + " unregister", Err: errors.New("say which runner with --name or --token, or --all-runners")}
	}
	c, err := p.Load(o.path, p.ConfigOptions())
	if err != nil {
		return err
	}
	if picked, err := o.pick(c); err != nil || len(picked) == 0 {
		return err
	}
	var failed error
	err = config.Edit(ctx, o.path, p.ConfigOptions(), func(d *config.Draft) error {
		picked, err := o.pick(d.Config()) // what they are now that nobody else changes the file
		if err != nil {
			return err
		}
		if err := d.CanRemove(indexes(picked)...); err != nil {
			return err
		}
		var done []*config.Runner
		done, failed = unregister(ctx, p, picked, c.SystemID)
		if err := d.Remove(indexes(done)...); err != nil || len(done) == 0 {
			return err
		}
		p.Logger.Info("the configuration was updated", "ConfigFile", o.path, "removed", len(done))
		return nil
	})
	return errors.Join(failed, err)
}

// pick returns the runners that are meant: one, unless all are.
func (o unregisterOptions) pick(c *config.Config) ([]*config.Runner, error) {
	picked, err := o.which.Pick(c)
	if err == nil && len(picked) > 1 && !o.which.All {
		return nil, fmt.Errorf("%s has %d entries for %s: add --token, or use --all-runners", o.path, len(picked), o.which)
	}
	return picked, err
}

// unregister deletes runners in GitLab and returns those that are gone there. The others' errors are joined.
func unregister(ctx context.Context, p *program.Program, runners []*config.Runner, systemID string) (done []*config.Runner, failed error) {
	for _, r := range runners {
		log := p.Logger.With("runner", r.ShortToken(), "name", r.Name)
		switch err := p.Unregister(ctx, r, systemID); {
		case err == nil:
			log.Info("the runner was unregistered")
			done = append(done, r)
		case program.Gone(err):
			log.Warn("GitLab does not know this runner any more")
			done = append(done, r)
		default:
			failed = errors.Join(failed, fmt.Errorf("runner %q stays in the configuration: %w", r.Name, err))
		}
	}
	return done, failed
}

// indexes are the runners' places in their file.
func indexes(runners []*config.Runner) []int {
	var out []int
	for _, r := range runners {
		out = append(out, r.Index)
	}
	return out
}
