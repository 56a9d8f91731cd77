package register

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
	"gitlab.com/skerry/skerry/internal/systemid"
)

// New returns the command. executors are those that this program can run jobs with.
func New(p *program.Program, executors []string) *cobra.Command {
	o := registerOptions{executors: executors}
	cmd := &cobra.Command{
		Use:   "register",
		Short: "Add a runner to the configuration",
		Long: "Add a runner to the configuration. Make the runner in GitLab first and give its token (glrt-...) with --token: " +
			"it is verified and written down. With a registration token the runner is made in GitLab, too.\n\n" +
			"What is not given by a flag or its environment variable is asked for.",
	}
	p.ConfigFlag(cmd, &o.path)
	variables := o.ownFlags(cmd.Flags())
	noteEnv(cmd.Flags(), variables)
	o.runner = program.AddRunnerFlags(cmd.Flags())
	cmd.SetUsageFunc(program.Usage)
	cmd.Flags().SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := fromEnv(cmd, variables, p.Env); err != nil {
			return &program.UsageError{Command: cmd.CommandPath(), Err: err}
		}
		r, err := o.newRunner(p)
		if err != nil {
			return err
		}
		return (&registration{program: p, options: o, runner: r}).run(cmd.Context())
	}
	return cmd
}

// registration is one run of register.
type registration struct {
	program *program.Program
	options registerOptions
	runner  *config.Runner
	ask     *prompter // nil when nothing may be asked
	token   string    // a registration token; empty when runner.Token is a runner's own
}

// run asks everything first and then holds the file's lock while it talks to GitLab: that the file
// can be written is certain before anything exists in GitLab.
func (g *registration) run(ctx context.Context) error {
	p := g.program
	if err := oneOf("access-level", g.options.server.accessLevel, "not_protected", "ref_protected"); err != nil {
		return &program.UsageError{Command: p.Name + " register", Err: err}
	}
	if !g.options.nonInteractive {
		g.ask = newPrompter(p.Streams.In, p.Streams.Out)
	}
	if err := g.complete(ctx); err != nil {
		return err
	}
	systemID, err := g.systemID()
	if err != nil {
		return err
	}
	made, known := false, false
	err = config.Edit(ctx, g.options.path, p.ConfigOptions(), func(d *config.Draft) error {
		known = slices.ContainsFunc(d.Config().Runners, func(r *config.Runner) bool {
			return r.URL == g.runner.URL && r.Token == g.runner.Token
		})
		if known {
			p.Logger.Warn("this runner is in the configuration already: it is added once more", "runner", g.runner.ShortToken())
		}
		if err := g.enroll(ctx, systemID); err != nil {
			return err
		}
		made = true
		entry := *g.runner
		if entry.TokenFile != "" {
			entry.Token = ""
		}
		if err := d.Append(&entry); err != nil {
			return err
		}
		g.remark(d.Config())
		return nil
	})
	if err != nil {
		if made {
			return g.undo(ctx, systemID, known, err)
		}
		return err
	}
	p.Logger.Info("the runner is registered; a running "+p.Name+" takes it up by itself", "runner", g.runner.ShortToken(),
		"name", g.runner.Name, "ConfigFile", g.options.path)
	return nil
}

// systemID is this machine's identity, also when there is no configuration yet.
func (g *registration) systemID() (string, error) {
	c, err := g.program.Load(g.options.path, g.program.ConfigOptions())
	if err != nil {
		return "", err
	}
	if c.SystemID != "" {
		return c.SystemID, nil
	}
	id, err := systemid.Of(c.Dir())
	if id != "" {
		return id, nil // one that cannot be kept is made anew next time
	}
	return "", err
}

// enroll makes the runner known to GitLab, or verifies it.
func (g *registration) enroll(ctx context.Context, systemID string) error {
	r, s := g.runner, g.options.server
	client, err := g.program.Client(r)
	if err != nil {
		return err
	}
	var answer gitlab.Registered
	if g.token == "" {
		answer, err = client.Verify(ctx, r.Token, systemID)
		if program.Gone(err) && !runnertoken.IsRunner(r.Token) {
			return fmt.Errorf("%w; if this is a registration token, give it with --registration-token", err)
		}
	} else {
		g.program.Logger.Warn("registration tokens are going away in GitLab: make the runner there and use --token")
		answer, err = client.Register(ctx, gitlab.RegisterRequest{
			Token: g.token, Description: r.Name, MaintenanceNote: s.maintenanceNote, TagList: s.tagList,
			RunUntagged: s.runUntagged || s.tagList == "", Locked: s.locked, AccessLevel: s.accessLevel,
			MaximumTimeout: s.maximumTimeout, Paused: s.paused,
			Info: g.program.Info(r.Executor, r.Shell, gitlab.Features{}),
		})
	}
	if err != nil {
		return err
	}
	if g.token != "" {
		r.Token = answer.Token
	}
	r.ID = answer.ID
	r.TokenObtainedAt = time.Now().UTC().Truncate(time.Second)
	if answer.TokenExpiresAt != nil {
		r.TokenExpiresAt = *answer.TokenExpiresAt
	}
	return nil
}

// undo takes back what enroll did in GitLab after err, or says the token, which is the only copy.
func (g *registration) undo(ctx context.Context, systemID string, known bool, err error) error {
	r := g.runner
	if g.options.leaveRunner {
		return fmt.Errorf("the runner was left in GitLab, its token is %s: %w", r.Token, err)
	}
	if known {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), program.CleanupTime)
	defer cancel()
	if undo := g.program.Unregister(ctx, r, systemID); undo != nil {
		return errors.Join(
			fmt.Errorf("the runner could not be written down: %w", err),
			fmt.Errorf("and could not be taken back in GitLab, its token is %s: %w", r.Token, undo))
	}
	return fmt.Errorf("the runner could not be written down and was taken back in GitLab: %w", err)
}

// remark warns of an executor that is not there yet and of limits that have no effect.
func (g *registration) remark(c *config.Config) {
	if e := g.runner.Executor; !slices.Contains(g.options.executors, e) {
		g.program.Logger.Warn("the "+e+" executor is not part of this version of Skerry: the runner is written down, but run does not use it",
			"executors", strings.Join(g.options.executors, " "))
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"limit", g.runner.Limit}, {"request_concurrency", g.runner.RequestConcurrency}} {
		if n.value > c.Concurrent {
			g.program.Logger.Warn("the runner's "+n.key+" is larger than concurrent, which holds for all runners together",
				n.key, n.value, "concurrent", c.Concurrent)
		}
	}
}

func oneOf(name, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("--%s must be one of %s, is %q", name, strings.Join(allowed, ", "), value)
}

func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the address must begin with https:// or http://")
	}
	return nil
}

func checkExecutor(name string) error {
	if slices.Contains(config.KnownExecutors(), name) {
		return nil
	}
	return fmt.Errorf("there is no executor %q here: it must be one of %s", name, strings.Join(config.KnownExecutors(), ", "))
}
