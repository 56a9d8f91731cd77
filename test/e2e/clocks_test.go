package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/clock"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/journal"
)

// These tests move GitLab's clocks, not the runner's: the coordinator's time is the test's own, and
// the hour after which GitLab drops a silent job passes when the test says so. No test moves the machine's
// wall clock: that would disturb everything else on it, and no name space has one of its own
// (time_namespaces(7) has only the monotonic and the boot clock). What is tried instead is that a job's
// deadline is counted from the boot clock whatever the wall clock said when it was accepted
// (internal/engine, TestElapsedDoesNotFollowTheWallClock). The agent's alarms are timers of the boot
// clock; that they ignore a jump follows from the kernel's contract and is not tried.

// away runs a job whose script ends while the coordinator is away for so long.
func away(t *testing.T, m machine, length time.Duration) (*runner, int64) {
	t.Helper()
	time0 := clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	r := m.runner(t, m.coordinator(t, gitlabtest.Options{Clock: time0}))
	r.start()
	g := m.gate(t)
	id := r.add(gitlabtest.JobSpec{Timeout: 3 * time.Hour, Script: append(g.lines(), "echo written while it was away", "exit 7")})
	g.await(t)
	r.co.Down()
	g.open(t)
	until(t, "the job has ended", func() bool { return logHas(r, m.says(7)) })
	time0.Advance(length)
	r.co.Sweep()
	if err := r.co.Up(); err != nil {
		t.Fatal(err)
	}
	return r, id
}

func TestCoordinatorAwayWithinItsClocks(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r, id := away(t, m, 40*time.Minute)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		if j.ExitCode != 7 {
			t.Errorf("exit code %d, want 7", j.ExitCode)
		}
		contains(t, log, "01O written while it was away", m.says(7))
		until(t, "the job is forgotten", func() bool { return len(r.jobs()) == 0 })
	})
}

func TestCoordinatorAwayBeyondItsClocks(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r, id := away(t, m, 61*time.Minute)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "stuck_or_timeout_failure")
		r.awaitLog("Job is given up")
		r.awaitLog("kept_until")
		until(t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
		r.signal(syscall.SIGTERM)

		kept := keptJobs(t, r)
		if len(kept) != 1 || kept[0].Record.JobID != id {
			t.Fatalf("kept: %+v, want the job", kept)
		}
		res := kept[0].Record.Result
		if res == nil || res.State != job.Failed || res.Reason != job.ReasonScript || res.ExitCode != 7 {
			t.Errorf("the kept result is %+v, want the script's exit code 7", res)
		}
		dirs := r.jobs()
		if len(dirs) != 1 {
			t.Fatalf("directories of jobs: %v, want one", dirs)
		}
		b, err := os.ReadFile(filepath.Join(dirs[0], "log"))
		if err != nil || !strings.Contains(string(b), "01O written while it was away") {
			t.Errorf("the kept log: %v\n%s", err, b)
		}
		contains(t, r.log.String(), dirs[0])

		expire(t, r, kept[0])
		r.start()
		r.awaitLogAgain("Runner is ready", 2)
		r.signal(syscall.SIGTERM)
		if kept := keptJobs(t, r); len(kept) != 0 {
			t.Errorf("still kept after it has expired: %+v", kept)
		}
		if left := r.jobs(); len(left) != 0 {
			t.Errorf("the log of an expired job is still there: %v", left)
		}
	}, "docker", "podman") // the journal of another user is not for this process to open
}

// awaitLogAgain waits until the runner's log has the text so many times.
func (r *runner) awaitLogAgain(text string, times int) {
	r.t.Helper()
	until(r.t, text, func() bool { return strings.Count(r.log.String(), text) >= times })
}

// openJournal opens the journal of a runner that does not run.
func openJournal(t *testing.T, r *runner) *journal.Journal {
	t.Helper()
	j, err := journal.Open(r.stateDir(), journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func keptJobs(t *testing.T, r *runner) []journal.Kept {
	t.Helper()
	j := openJournal(t, r)
	kept, err := j.AllKept()
	if err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	return kept
}

// expire makes the time of a kept job be over, as seven days would.
func expire(t *testing.T, r *runner, kept journal.Kept) {
	t.Helper()
	j := openJournal(t, r)
	if err := j.Put(t.Context(), kept.Record); err != nil {
		t.Error(err)
	}
	if err := j.Keep(t.Context(), kept.Record.Ref, kept.Why, time.Now().Add(-time.Second)); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// logHas reports whether the log of the job under way, as the runner keeps it, has the text.
func logHas(r *runner, text string) bool {
	for _, dir := range r.jobs() {
		if b, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}
