package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// TestStateDirectoryRemoved removes the state directory under a runner that has a job: the job still ends, no
// further one is taken to be failed, the runner says what to do and ends, and the next start runs them.
func TestStateDirectoryRemoved(t *testing.T) {
	t.Parallel()
	co := gitlabtest.Start(t, gitlabtest.Options{LongPoll: time.Second, Tolerate: damagedLog(), Limits: gitlabtest.Limits{Pending: 5 * time.Second}})
	r := newRunner(t, co)
	r.start()
	g := newGate(t)
	id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "exit 7")})
	g.await(t)
	away := filepath.Join(t.TempDir(), "state")
	if err := os.Rename(r.stateDir(), away); err != nil {
		t.Fatal(err)
	}
	moved, err := filepath.Glob(filepath.Join(away, "envs", "*"))
	if err != nil || len(moved) != 1 {
		t.Fatalf("environments: %v, %v; want one", moved, err)
	}
	agent := agentPID(t, moved[0])
	t.Cleanup(func() { _ = syscall.Kill(agent, syscall.SIGTERM) }) // which nothing names any more
	r.awaitLog("the state directory is gone")
	next := r.add(gitlabtest.JobSpec{Script: []string{"echo of the next runner"}})
	g.open(t)
	j, log := r.wait(id)
	if !j.Over() || j.Status == gitlabtest.StatusSuccess {
		t.Errorf("the job ended %s, %q\n%s", j.Status, j.Reason, log)
	}
	<-r.stopped
	if code := r.cmd.ProcessState.ExitCode(); code == 0 {
		t.Error("the runner ended with exit code 0")
	}
	r.co.RunnerDied()
	r.start()
	j, log = r.wait(next)
	want(t, j, log, gitlabtest.StatusSuccess, "")
}
