package program

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
)

// CleanupTime is how long undoing something may take after the command was interrupted.
const CleanupTime = 30 * time.Second

// Client returns a client for the instance of r, for commands that somebody waits for. Each change is made to
// its options.
func (p *Program) Client(r *config.Runner, change ...func(*gitlab.Options)) (*gitlab.Client, error) {
	features := gitlab.Supported(gitlab.ExecutorFeatures{Containers: r.Executor != "shell", Shared: r.Executor == "shell"})
	o := gitlab.Options{
		URL:    r.URL,
		TLS:    p.Certificates().TLS(r),
		Info:   p.Info(r.Executor, r.Shell, features),
		Logger: p.Logger,
		Retry:  gitlab.Retry{Attempts: 3, Max: 5 * time.Second},
	}
	for _, c := range change {
		c(&o)
	}
	return gitlab.New(o)
}

// Verify asks GitLab whether the token of r is valid. A token that is not known here is not asked about.
func (p *Program) Verify(ctx context.Context, r *config.Runner, systemID string, change ...func(*gitlab.Options)) (gitlab.Registered, error) {
	if err := r.TokenKnown(); err != nil {
		return gitlab.Registered{}, err
	}
	client, err := p.Client(r, change...)
	if err != nil {
		return gitlab.Registered{}, err
	}
	return client.Verify(ctx, r.Token, systemID)
}

// Unregister deletes r in GitLab: the manager that this machine is when the runner was made in
// GitLab, for others may share it, else the runner.
func (p *Program) Unregister(ctx context.Context, r *config.Runner, systemID string) error {
	if err := r.TokenKnown(); err != nil {
		return err
	}
	client, err := p.Client(r)
	if err != nil {
		return err
	}
	if !runnertoken.IsCreated(r.Token) {
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

// Gone reports whether GitLab said that a token is not valid (403), as opposed to not being reachable. A 401
// is not GitLab's word on a runner's token but that of something in front of it.
func Gone(err error) bool {
	var e *gitlab.Error
	return errors.As(err, &e) && e.StatusCode == http.StatusForbidden
}

// Selector picks runners of a configuration by what a user knows of them.
type Selector struct {
	Name, URL, Token string
	All              bool
}

// Empty reports whether nothing was asked for.
func (s Selector) Empty() bool { return s.Name == "" && s.URL == "" && s.Token == "" && !s.All }

// Matches reports whether r has everything that was asked for.
func (s Selector) Matches(r *config.Runner) bool {
	return s.All || !s.Empty() &&
		(s.Name == "" || s.Name == r.Name) && (s.URL == "" || s.URL == r.URL) && (s.Token == "" || s.Token == r.Token)
}

// String says in words what was asked for.
func (s Selector) String() string {
	if s.All {
		return "any runner"
	}
	words := "a runner"
	if s.Name != "" {
		words += fmt.Sprintf(" with the name %q", s.Name)
	}
	if s.URL != "" {
		words += fmt.Sprintf(" of %s", s.URL)
	}
	if s.Token != "" {
		words += fmt.Sprintf(" with the token %s...", runnertoken.Short(s.Token))
	}
	return words
}

// Pick returns the runners that s selects; none is an error.
func (s Selector) Pick(c *config.Config) ([]*config.Runner, error) {
	var out []*config.Runner
	for _, r := range c.Runners {
		if s.Matches(r) {
			out = append(out, r)
		}
	}
	if len(out) == 0 && !s.All {
		return nil, fmt.Errorf("%s has no entry for %s; the command list shows what is there", c.Path, s)
	}
	return out, nil
}
