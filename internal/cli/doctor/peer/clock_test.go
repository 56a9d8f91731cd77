package peer_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
			mend, booting = "timedatectl set-ntp true", "date -u -s @"
		}
		want(t, peer.Clock(booted(t, elsewhere(t)), r, now), test.severity, test.what, mend)
		want(t, peer.Clock(elsewhere(t), r, now), test.severity, test.what, booting)
	}
	// A token that is refused tells the time, too; a GitLab that is away does not.
	want(t, peer.Clock(elsewhere(t), runner(c.URL(), "glrt-no", ""), time.Now), finding.Fine, "as GitLab's", "")
	c.Down()
	want(t, peer.Clock(elsewhere(t), r, time.Now), finding.Skipped, "did not tell its time", "")
}

// TestClockIsSet follows the advice when it is given, and an hour later, with programs in the place of those that would set the
// clock and tell the time since the machine's start.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	c := coordinator(t)
	r := runner(c.URL(), c.AddRunner(gitlabtest.RunnerSpec{}).Token, "")
	got := want(t, peer.Clock(elsewhere(t), r, func() time.Time { return time.Now().Add(-time.Hour) }), finding.Failure, "behind GitLab's", "date -u -s @")
	line := strings.TrimPrefix(finding.Line(got.Mend), "sudo ")
	for _, later := range []time.Duration{0, time.Hour} {
		bin := t.TempDir()
		for name, script := range map[string]string{
			"date": `echo "$3"`,
			"cut":  fmt.Sprintf("read -r up rest </proc/uptime; echo $((${up%%.*} + %d))", int(later.Seconds())),
		} {
			program(t, filepath.Join(bin, name), script)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		set, numberErr := strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(string(out)), "@"), 10, 64)
		if off := time.Until(time.Unix(set, 0)) - later; err != nil || numberErr != nil || off.Abs() > 30*time.Second {
			t.Errorf("%s later, %s sets the clock to %s off: %v %s", later, line, off, err, out)
		}
	}
}
