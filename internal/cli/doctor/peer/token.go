package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// Token checks that GitLab takes a runner's token. program is how this one is called, config the file of the entry.
func Token(r Runner, program, config string) finding.Check {
	return finding.Check{Name: "token", About: "runner " + r.Name, Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		bad := finding.Result{Severity: finding.Failure, Why: "GitLab gives this runner no jobs"}
		if r.Token != nil {
			bad.What, bad.Advice = oneLine(r.Token), "set the variable for the runner's service, or write the token into "+config
			return bad
		}
		got, err := r.Verify(ctx, nil)
		var e *gitlab.Error
		switch {
		case err == nil && got.TokenExpiresAt != nil:
			return finding.OK("valid until %s", got.TokenExpiresAt.Format(time.RFC3339))
		case err == nil:
			return finding.OK("valid")
		case errors.As(err, &e) && e.StatusCode == http.StatusForbidden:
			bad.What = fmt.Sprintf("GitLab does not know the token of runner %s", r.Name)
			bad.Advice = fmt.Sprintf("`%s` with an access token of one who may manage the runner, or, where it is deleted, register another and take this one out: `%s`",
				finding.Command{program, "reset-token", "--config", config, "--name", r.Name, "--pat", "TOKEN"},
				finding.Command{program, "verify", "--config", config, "--name", r.Name, "--delete"})
			return bad
		}
		return finding.Skip("GitLab could not be asked: see gitlab")
	}}
}
