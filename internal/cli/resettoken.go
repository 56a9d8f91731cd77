package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

type resetOptions struct {
	path  string
	which selector
	id    int64
}

func newResetToken(p *Program) *cobra.Command {
	var o resetOptions
	cmd := &cobra.Command{
		Use:   "reset-token",
		Short: "Give runners new tokens",
		Long:  "Give runners new tokens, in GitLab and in the configuration. The old tokens are dead from then on.",
		RunE:  func(cmd *cobra.Command, _ []string) error { return runResetToken(cmd.Context(), p, o) },
	}
	p.configFlag(cmd, &o.path)
	cmd.Flags().StringVarP(&o.which.name, "name", "n", "", "the runner with this name")
	cmd.Flags().StringVarP(&o.which.url, "url", "u", "", "the runner of this GitLab; needs --id")
	cmd.Flags().Int64VarP(&o.id, "id", "i", 0, "the runner with this id in GitLab; needs --url")
	cmd.Flags().BoolVar(&o.which.all, "all-runners", false, "all runners of the configuration")
	return cmd
}

func runResetToken(ctx context.Context, p *Program, o resetOptions) error {
	if !o.which.all && o.which.name == "" && (o.which.url == "" || o.id == 0) {
		return &UsageError{Command: p.Name + " reset-token", Err: errors.New("say which runner with --name, with --url and --id, or --all-runners")}
	}
	c, err := config.Load(o.path, p.configOptions())
	if err != nil {
		return err
	}
	var failed error
	found := false
	for _, r := range c.Runners {
		if !o.which.matches(r) || o.id != 0 && o.id != r.ID {
			continue
		}
		found = true
		if err := p.resetToken(ctx, o.path, r); err != nil {
			failed = errors.Join(failed, fmt.Errorf("reset the token of runner %q: %w", r.Name, err))
		}
	}
	if !found && !o.which.all {
		return fmt.Errorf("%s has no entry for %s; the command list shows what is there", o.path, o.which)
	}
	return failed
}

// resetToken gives r a new token. Each runner is an edit of its own, so that its token is in the file
// before the next one's old token dies. A new token that cannot be kept is in the error: it is the
// only copy.
func (p *Program) resetToken(ctx context.Context, path string, r *config.Runner) error {
	client, err := p.client(r)
	if err != nil {
		return err
	}
	var fresh gitlab.Registered
	err = config.Edit(ctx, path, p.configOptions(), func(d *config.Draft) error {
		index := -1
		for _, now := range d.Config().Runners {
			if now.URL == r.URL && now.Token == r.Token {
				index = now.Index
			}
		}
		if index < 0 {
			return errors.New("it is not in the file any more")
		}
		if err := d.CanSetToken(index); err != nil {
			return err
		}
		var err error
		if fresh, err = client.ResetToken(ctx, r.Token); err != nil {
			return err
		}
		var expires time.Time
		if fresh.TokenExpiresAt != nil {
			expires = *fresh.TokenExpiresAt
		}
		return d.SetToken(index, fresh.Token, time.Now(), expires)
	})
	if err != nil && fresh.Token != "" {
		return fmt.Errorf("the old token is dead and the new one, %s, could not be kept: write it into the file: %w", fresh.Token, err)
	}
	if err == nil {
		p.Logger.Info("the runner has a new token", "name", r.Name, "runner", config.ShortenToken(fresh.Token))
	}
	return err
}
