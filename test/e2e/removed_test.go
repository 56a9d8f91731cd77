package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// TestStateDirectoryRemoved removes the state directory under a runner that has a job: the job still ends, no
// further one is taken to be failed, the runner says what to do and ends, and the next start runs them. Of the job's
// containers, which nothing names any more by then, none is left.
func TestStateDirectoryRemoved(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{
			LongPoll: time.Second, Tolerate: damagedLog(), Limits: gitlabtest.Limits{Pending: 5 * time.Second},
		}))
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "exit 7")})
		g.await(t)
		owner := r.owner(t)
		away := filepath.Join(t.TempDir(), "state")
		if err := os.Rename(r.stateDir(), away); err != nil {
			t.Fatal(err)
		}
		moved, err := filepath.Glob(filepath.Join(away, "envs", "[^.]*"))
		if err != nil || len(moved) != 1 {
			t.Fatalf("environments: %v, %v; want one", moved, err)
		}
		if m.shell() {
			agent := agentPID(t, moved[0])
			t.Cleanup(func() { _ = syscall.Kill(agent, syscall.SIGTERM) }) // which nothing names any more
		} else {
			api := m.client(t)
			t.Cleanup(func() {
				_, volumes := r.owned(api, owner)
				r.purge(api, owner, volumes)
			})
		}
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
		if !m.shell() {
			if left, _ := r.owned(m.client(t), owner); len(left) > 0 {
				t.Errorf("left on the engine, where no runner looks for it any more: %s", strings.Join(left, ", "))
			}
		}
		r.co.RunnerDied()
		r.start()
		j, log = r.wait(next)
		want(t, j, log, gitlabtest.StatusSuccess, "")
	})
}
