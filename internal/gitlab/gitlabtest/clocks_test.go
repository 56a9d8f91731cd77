package gitlabtest_test

import (
	"net/http"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/clock"
)

func TestGitLabsClocks(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		after  []time.Duration // between running updates
		reason string
		bare   bool // 403 without Job-Status
	}{
		{"an hour without an update", []time.Duration{61 * time.Minute}, "stuck_or_timeout_failure", false},
		{"updates keep it alive", []time.Duration{16 * time.Minute, 16 * time.Minute, 16 * time.Minute, 10 * time.Minute}, "", false},
		{"an early update does not count", []time.Duration{10 * time.Minute, 51 * time.Minute}, "stuck_or_timeout_failure", false},
		{"the token dies with the timeout", []time.Duration{30 * time.Minute, 36 * time.Minute}, "", true},
		{"long past the timeout", []time.Duration{30 * time.Minute, 46 * time.Minute}, "job_execution_timeout", false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := clock.NewManual(time.Now())
			c, d, p := running(t, gitlabtest.Options{Clock: clock})
			want := 200
			for i, step := range tc.after {
				clock.Advance(step)
				c.Sweep()
				if i == len(tc.after)-1 && (tc.reason != "" || tc.bare) {
					want = 403
				}
				res := d.put(p, gitlab.Update{State: "running"}, want)
				if want == 403 && (res.Header.Get(gitlab.HeaderJobStatus) == "") != tc.bare {
					t.Errorf("Job-Status is %q", res.Header.Get(gitlab.HeaderJobStatus))
				}
			}
			if j := jobOf(t, c, p.ID); j.Reason != tc.reason {
				t.Errorf("job is %s, %q", j.Status, j.Reason)
			}
		})
	}
}

// With a scale, the clocks run by themselves in real time.
func TestScaledClocks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limits gitlabtest.Limits
		ack    bool
		over   func(gitlabtest.Job) bool
	}{
		"stuck":   {gitlabtest.Limits{}, true, func(j gitlabtest.Job) bool { return j.Reason == "stuck_or_timeout_failure" }},
		"overdue": {gitlabtest.Limits{Stuck: 1000 * time.Hour}, true, func(j gitlabtest.Job) bool { return j.Reason == "job_execution_timeout" }},
		"pending": {gitlabtest.Limits{}, false, func(j gitlabtest.Job) bool { return j.Events[len(j.Events)-1].Kind == gitlabtest.EventQueued }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := gitlabtest.Start(t, gitlabtest.Options{Scale: 36_000, Limits: tc.limits})
			d := newDriver(t, c)
			d.twoPh = !tc.ack
			id := add(t, c, gitlabtest.JobSpec{})
			d.ask(http.StatusCreated)
			if j, err := c.WaitFor(soon(t), id, tc.over); err != nil {
				t.Errorf("job is %+v: %v", j, err)
			}
		})
	}
}
