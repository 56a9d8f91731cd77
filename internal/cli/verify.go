package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
)

type verifyOptions struct {
	path   string
	which  program.Selector
	delete bool
}

func newVerify(p *program.Program) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Ask GitLab whether the registered runners are still valid",
		Long: "Ask GitLab whether the registered runners are still valid. With --delete, those that GitLab " +
			"does not know any more are taken out of the configuration; those that could not be asked about stay, " +
			"which is no failure then.",
		RunE: func(cmd *cobra.Command, _ []string) error { return runVerify(cmd.Context(), p, o) },
	}
	p.ConfigFlag(cmd, &o.path)
	cmd.Flags().StringVarP(&o.which.Name, "name", "n", "", "only the runners with this name")
	// No environment variables here: one left over would hide runners (as in GitLab Runner).
	cmd.Flags().StringVarP(&o.which.URL, "url", "u", "", "only the runners of this GitLab")
	cmd.Flags().StringVarP(&o.which.Token, "token", "t", "", "only the runner with this token")
	cmd.Flags().BoolVar(&o.delete, "delete", false, "take runners that are not valid any more out of the configuration")
	return cmd
}

func runVerify(ctx context.Context, p *program.Program, o verifyOptions) error {
	c, err := p.Load(o.path, p.ConfigOptions())
	if err != nil {
		return err
	}
	if o.which.Empty() {
		o.which.All = true
	}
	picked, err := o.which.Pick(c)
	if err != nil {
		return err
	}
	var invalid []*config.Runner
	var failed error
	for _, r := range picked {
		log := p.Logger.With("runner", r.ShortToken(), "name", r.Name)
		switch _, err := p.Verify(ctx, r, c.SystemID); {
		case err == nil:
			log.Info("the runner is valid")
		case program.Gone(err):
			log.Error("the runner is not valid: GitLab does not know its token")
			invalid = append(invalid, r)
		default:
			log.Error("the runner could not be verified", "error", err)
			failed = fmt.Errorf("runner %q could not be verified: %w", r.Name, err)
		}
	}
	if len(invalid) > 0 && !o.delete {
		return errors.Join(failed, fmt.Errorf("%d of %d runners are not valid; verify --delete takes them out of %s", len(invalid), len(picked), o.path))
	}
	if len(invalid) > 0 {
		if err := drop(ctx, p, o.path, invalid); err != nil {
			return errors.Join(failed, err)
		}
	}
	if o.delete && ctx.Err() == nil {
		// As in GitLab Runner: what starts a runner cleans up with --delete first, and must go on
		// while GitLab is away.
		return nil
	}
	return failed
}

// drop takes runners out of the file. The file may have changed since they were read, so they are
// looked for again by address and token.
func drop(ctx context.Context, p *program.Program, path string, runners []*config.Runner) error {
	return config.Edit(ctx, path, p.ConfigOptions(), func(d *config.Draft) error {
		var indexes []int
		for _, now := range d.Config().Runners {
			for _, r := range runners {
				if now.URL == r.URL && now.Token == r.Token {
					indexes = append(indexes, now.Index)
					break
				}
			}
		}
		if err := d.Remove(indexes...); err != nil {
			return err
		}
		p.Logger.Info("the configuration was updated", "ConfigFile", path, "removed", len(indexes))
		return nil
	})
}
