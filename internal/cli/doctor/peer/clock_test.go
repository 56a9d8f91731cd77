package peer_test

import (
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// TestClock compares with the Date of real answers; the machine's clock is wrong instead of GitLab's.
func TestClock(t *testing.T) {
	t.Parallel()
	c := coordinator(t)
	r := runner(c.URL(), c.AddRunner(gitlabtest.RunnerSpec{}).Token, "")
	for _, test := range []struct {
		off      time.Duration
		severity finding.Severity
		what     string
	}{
		{0, finding.Fine, "as GitLab's"},
		{20 * time.Second, finding.Fine, "as GitLab's"},
		{3 * time.Minute, finding.Warning, " ahead of GitLab's"},
		{-3 * time.Minute, finding.Warning, " behind GitLab's"},
		{-26 * time.Hour, finding.Failure, "the machine's clock is 25h5"},
	} {
		now := func() time.Time { return time.Now().Add(test.off) }
		mend, booting := "", ""
		if test.severity > finding.Fine {
			mend, booting = "timedatectl set-ntp true", "date -u -s '"+time.Now().UTC().Format("2006-01-02 ")
		}
		want(t, peer.Clock(booted(t, elsewhere(t)), r, now), test.severity, test.what, mend)
		want(t, peer.Clock(elsewhere(t), r, now), test.severity, test.what, booting)
	}
	// A token that is refused tells the time, too; a GitLab that is away does not.
	want(t, peer.Clock(elsewhere(t), runner(c.URL(), "glrt-no", ""), time.Now), finding.Fine, "as GitLab's", "")
	c.Down()
	want(t, peer.Clock(elsewhere(t), r, time.Now), finding.Skipped, "did not tell its time", "")
}
