package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// cleanupTime is how long undoing something may take after the command was interrupted.
const cleanupTime = 30 * time.Second

// client returns a client for the instance of r, for commands that somebody waits for.
func (p *Program) client(r *config.Runner) (*gitlab.Client, error) {
	features := gitlab.Supported(gitlab.ExecutorFeatures{Containers: r.Executor != "shell", Shared: r.Executor == "shell"})
	return gitlab.New(gitlab.Options{
		URL:    r.URL,
		TLS:    gitlab.TLS{CAFile: r.TLSCAFile, CertFile: r.TLSCertFile, KeyFile: r.TLSKeyFile},
		Info:   p.Info(r.Executor, r.Shell, features),
		Logger: p.Logger,
		Retry:  gitlab.Retry{Attempts: 3, Max: 5 * time.Second},
	})
}

// verify asks GitLab whether the token of r is valid.
func (p *Program) verify(ctx context.Context, r *config.Runner, systemID string) (gitlab.Registered, error) {
	client, err := p.client(r)
	if err != nil {
		return gitlab.Registered{}, err
	}
	return client.Verify(ctx, r.Token, systemID)
}

// unregister deletes r in GitLab: the manager that this machine is when the runner was made in
// GitLab, for others may share it, else the runner.
func (p *Program) unregister(ctx context.Context, r *config.Runner, systemID string) error {
	client, err := p.client(r)
	if err != nil {
		return err
	}
	if !config.IsCreatedToken(r.Token) {
		return client.Unregister(ctx, r.Token)
	}
	err = client.UnregisterManager(ctx, r.Token, systemID)
	if !errors.Is(err, gitlab.ErrNotFound) {
		return err
	}
	// Either GitLab has no record of this machine, or the answer was not GitLab's. A verification makes
	// the record, so that deleting it tells which.
	if _, err := client.Verify(ctx, r.Token, systemID); err != nil {
		return err
	}
	return client.UnregisterManager(ctx, r.Token, systemID)
}

// gone reports whether GitLab said that a token is not valid, as opposed to not being reachable.
func gone(err error) bool { return errors.Is(err, gitlab.ErrForbidden) }

// selector picks runners of a configuration by what a user knows of them.
type selector struct {
	name, url, token string
	all              bool
}

// empty reports whether nothing was asked for.
func (s selector) empty() bool { return s.name == "" && s.url == "" && s.token == "" && !s.all }

// matches reports whether r has everything that was asked for.
func (s selector) matches(r *config.Runner) bool {
	return s.all || !s.empty() &&
		(s.name == "" || s.name == r.Name) && (s.url == "" || s.url == r.URL) && (s.token == "" || s.token == r.Token)
}

// String says in words what was asked for.
func (s selector) String() string {
	if s.all {
		return "any runner"
	}
	words := "a runner"
	if s.name != "" {
		words += fmt.Sprintf(" with the name %q", s.name)
	}
	if s.url != "" {
		words += fmt.Sprintf(" of %s", s.url)
	}
	if s.token != "" {
		words += fmt.Sprintf(" with the token %s...", config.ShortenToken(s.token))
	}
	return words
}

// pick returns the runners that s selects; none is an error.
func (s selector) pick(c *config.Config) ([]*config.Runner, error) {
	var out []*config.Runner
	for _, r := range c.Runners {
		if s.matches(r) {
			out = append(out, r)
		}
	}
	if len(out) == 0 && !s.all {
		return nil, fmt.Errorf("%s has no entry for %s; the command list shows what is there", c.Path, s)
	}
	return out, nil
}
