package program

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// LostTokenError says that a runner's token was replaced in GitLab and the new one could not be written
// into the configuration: what it holds is the only copy. Error does not show it.
type LostTokenError struct {
	Token   string
	Expires time.Time // zero: never
	Err     error
}

// Error says what happened, without the token.
func (e *LostTokenError) Error() string {
	return fmt.Sprintf("the old token is dead and the new one could not be written into the configuration: %v", e.Err)
}

// Unwrap returns the cause.
func (e *LostTokenError) Unwrap() error { return e.Err }

// Reset asks a coordinator for another token of a runner: gitlab.Client has ways to.
type Reset func(ctx context.Context) (gitlab.Registered, error)

// ResetToken gives the runner with this address and token another token, in GitLab and in the
// configuration at path, and returns it. That the file can keep a new token is certain before GitLab is
// asked; should the writing go wrong nevertheless, the error is a *LostTokenError. now is the date that the
// file gets.
func ResetToken(ctx context.Context, path string, opts config.Options, reset Reset, r *config.Runner, now func() time.Time) (string, error) {
	var fresh gitlab.Registered
	var expires time.Time
	err := config.Edit(ctx, path, opts, func(d *config.Draft) error {
		var entries []int // one token may stand in several entries
		for _, entry := range d.Config().Runners {
			if entry.URL != r.URL || entry.Token != r.Token {
				continue
			}
			if err := d.CanSetToken(entry.Index); err != nil {
				return err
			}
			entries = append(entries, entry.Index)
		}
		if len(entries) == 0 {
			return errors.New("it is not in the file any more")
		}
		var err error
		if fresh, err = reset(ctx); err != nil {
			return err
		}
		if fresh.TokenExpiresAt != nil {
			expires = *fresh.TokenExpiresAt
		}
		for _, index := range entries {
			if err := d.SetToken(index, fresh.Token, now(), expires); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && fresh.Token != "" {
		return fresh.Token, &LostTokenError{Token: fresh.Token, Expires: expires, Err: err}
	}
	return fresh.Token, err
}
