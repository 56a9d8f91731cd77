package peer

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

// How far a clock may be off. Signed requests to object storage are refused from 15 min on, and tokens of short life much before.
const (
	skewWarning = 30 * time.Second
	skewFailure = 5 * time.Minute
)

// Clock compares the machine's clock with that of a runner's GitLab. now is the machine's time.
func Clock(m host.Machine, r Runner, now func() time.Time) finding.Check {
	return finding.Check{Name: "clock", About: shown(r.URL), Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		if r.Token != nil {
			return finding.Skip("GitLab is not asked without a token")
		}
		var server time.Time
		var skew, answered time.Duration
		_, _ = r.Verify(ctx, func(at time.Time, took time.Duration) { // other checks tell of its error
			// The answer is some time between now and took ago, and its date in whole seconds.
			server, skew, answered = at, max(now().Sub(at).Abs()-took-time.Second, 0), uptime()
		})
		if server.IsZero() {
			return finding.Skip("GitLab did not tell its time")
		}
		if skew <= skewWarning {
			return finding.OK("as GitLab's")
		}
		ahead := "ahead of"
		if now().Before(server) {
			ahead = "behind"
		}
		bad := finding.Result{
			Severity: finding.Warning, What: fmt.Sprintf("the machine's clock is %s %s GitLab's", skew.Round(time.Second), ahead),
			Why: "tokens and certificates are taken for expired or not yet valid: clones, caches and uploads are refused",
		}
		if skew > skewFailure {
			bad.Severity = finding.Failure
		}
		if m.Systemd() {
			bad.Mend = []finding.Command{m.AsRoot("timedatectl", "set-ntp", "true")}
		} else {
			bad.Mend = []finding.Command{m.AsRoot("sh", "-c", setTime(server, answered))}
			bad.Advice = "have a time server followed: install chrony"
		}
		return bad
	}}
}

// uptime is the time since the machine's start, as /proc/uptime has it, which no setting of its clock changes.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// setTime is a script that sets the machine's clock by what another one showed at an uptime, however long ago that is when the script
// is run, and however often. Date of busybox takes seconds, too.
func setTime(at time.Time, uptime time.Duration) string {
	return fmt.Sprintf("date -u -s @$((%d + $(cut -d. -f1 /proc/uptime)))", at.Add(-uptime).Unix())
}
