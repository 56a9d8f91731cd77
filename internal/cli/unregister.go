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
	picked, err := o.which.Pick(c)
	if err != nil {
		return err
	}
	if len(picked) > 1 && !o.which.All {
		return fmt.Errorf("%s has %d entries for %s: add --token, or use --all-runners", o.path, len(picked), o.which)
	}
	var done []*config.Runner
	var failed error
	for _, r := range picked {
		log := p.Logger.With("runner", r.ShortToken(), "name", r.Name)
		switch err := p.Unregister(ctx, r, c.SystemID); {
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
	if len(done) > 0 {
		// What is gone in GitLab must go from the file, also when somebody interrupts now.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), program.CleanupTime)
		defer cancel()
		failed = errors.Join(failed, drop(ctx, p, o.path, done))
	}
	return failed
}
