package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
)

type resetOptions struct {
	path  string
	which program.Selector
	id    int64
	pat   string // of a user, in the runner's place; empty: the runner asks for itself
}

func newResetToken(p *program.Program) *cobra.Command {
	var o resetOptions
	cmd := &cobra.Command{
		Use:   "reset-token",
		Short: "Give runners new tokens",
		Long:  "Give runners new tokens, in GitLab and in the configuration. The old tokens are dead from then on.",
		RunE:  func(cmd *cobra.Command, _ []string) error { return runResetToken(cmd.Context(), p, o) },
	}
	p.ConfigFlag(cmd, &o.path)
	cmd.Flags().StringVarP(&o.which.Name, "name", "n", "", "the runner with this name")
	cmd.Flags().StringVarP(&o.which.URL, "url", "u", "", "the runner of this GitLab; needs --id")
	cmd.Flags().Int64VarP(&o.id, "id", "i", 0, "the runner with this id in GitLab; needs --url")
	cmd.Flags().StringVar(&o.pat, "pat", "", "personal access token to use instead of the runners' own, which may have expired")
	cmd.Flags().BoolVar(&o.which.All, "all-runners", false, "all runners of the configuration")
	return cmd
}

func runResetToken(ctx context.Context, p *program.Program, o resetOptions) error {
	if !o.which.All && o.which.Name == "" && (o.which.URL == "" || o.id == 0) {
		return &program.UsageError{Command: p.Name + " reset-token", Err: errors.New("say which runner with --name, with --url and --id, or --all-runners")}
	}
	c, err := config.Load(o.path, p.ConfigOptions())
	if err != nil {
		return err
	}
	var failed error
	found := false
	for _, r := range c.Runners {
		if !o.which.Matches(r) || o.id != 0 && o.id != r.ID {
			continue
		}
		found = true
		if err := resetToken(ctx, p, o, r); err != nil {
			failed = errors.Join(failed, fmt.Errorf("reset the token of runner %q: %w", r.Name, err))
		}
	}
	if !found && !o.which.All {
		return fmt.Errorf("%s has no entry for %s; the command list shows what is there", o.path, o.which)
	}
	return failed
}

// resetToken gives r a new token. Each runner is an edit of its own, so that its token is in the file
// before the next one's old token dies.
func resetToken(ctx context.Context, p *program.Program, o resetOptions, r *config.Runner) error {
	if err := r.TokenKnown(); err != nil && o.pat == "" {
		return err
	}
	client, err := p.Client(r)
	if err != nil {
		return err
	}
	reset := func(ctx context.Context) (gitlab.Registered, error) { return client.ResetToken(ctx, r.Token) }
	if o.pat != "" {
		if r.ID == 0 {
			return errors.New("--pat needs to know the runner's id in GitLab: add the key id to its entry")
		}
		reset = func(ctx context.Context) (gitlab.Registered, error) { return client.ResetTokenAs(ctx, r.ID, o.pat) }
	}
	token, err := program.ResetToken(ctx, o.path, p.ConfigOptions(), reset, r, time.Now)
	var lost *program.LostTokenError
	if errors.As(err, &lost) {
		return fmt.Errorf("%w; write it into the file, it is %s", err, lost.Token) // the only copy there is
	}
	if err != nil {
		return err
	}
	p.Logger.Info("the runner has a new token", "name", r.Name, "runner", runnertoken.Short(token))
	return nil
}
