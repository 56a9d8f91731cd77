package peer_test

import (
	"errors"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

func TestToken(t *testing.T) {
	t.Parallel()
	c := coordinator(t)
	token := c.AddRunner(gitlabtest.RunnerSpec{}).Token
	dated := c.AddRunner(gitlabtest.RunnerSpec{TokenExpires: time.Now().Add(time.Hour)}).Token
	check := func(token string) finding.Check { return peer.Token(runner(c.URL(), token, ""), "skerry", "/c.toml") }
	want(t, check(token), finding.Fine, "valid", "")
	want(t, check(dated), finding.Fine, "valid until 2", "")
	c.RemoveRunner(token)
	want(t, check(token), finding.Failure, "GitLab does not know the token of runner one", "`skerry reset-token --config /c.toml --name one --pat TOKEN`")
	c.Down()
	want(t, check(token), finding.Skipped, "see gitlab", "")

	r := runner(c.URL(), "", "")
	r.Token = errors.New("needs $NOT_SET, which is not set here")
	want(t, peer.Token(r, "skerry", "/c.toml"), finding.Failure, "needs $NOT_SET", "set the variable for the runner's service")
}
