package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// service is a control group as a service manager would give the runner one, in each hierarchy that
// service managers use: the unified one and, on hybrid machines, systemd's named one.
type service struct {
	parents []string
	groups  []string
}

func newService(t *testing.T) *service {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	var refused []error
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		var mounts []string
		switch {
		case parts[0] == "0":
			mounts = []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
		case parts[1] == "name=systemd":
			mounts = []string{"/sys/fs/cgroup/systemd"}
		}
		for _, mount := range mounts {
			if !exists(filepath.Join(mount, "cgroup.procs")) {
				continue
			}
			parent, err := os.MkdirTemp(filepath.Join(mount, parts[2]), "skerry-e2e-")
			group := filepath.Join(parent, "runner.service")
			if err == nil {
				err = os.Mkdir(group, 0o755)
			}
			if err != nil {
				refused = append(refused, err)
				break
			}
			s.parents, s.groups = append(s.parents, parent), append(s.groups, group)
			break
		}
	}
	if len(s.groups) == 0 {
		t.Fatalf("this test kills a whole control group: it needs root and a writable hierarchy at /sys/fs/cgroup (%v)", refused)
	}
	t.Cleanup(func() { s.remove(t) })
	return s
}

// remove removes the groups, which must be empty by then: no job is left, and no group of a job.
func (s *service) remove(t *testing.T) {
	t.Helper()
	for i, parent := range s.parents {
		until(t, "the runner's group is empty", func() bool { return len(pidsIn(s.groups[i])) == 0 })
		for _, group := range []string{s.groups[i], parent} {
			if err := os.Remove(group); err != nil {
				left, _ := filepath.Glob(filepath.Join(group, "*", "cgroup.procs"))
				t.Errorf("%v; groups below it: %v", err, left)
			}
		}
	}
}

// wrapper is a command that enters the groups and becomes the command of its arguments.
func (s *service) wrapper() []string {
	script := `set -e; `
	for _, group := range s.groups {
		script += fmt.Sprintf("echo $$ > '%s/cgroup.procs'; ", group)
	}
	return []string{"sh", "-c", script + `exec "$@"`, "enter"}
}

// kill kills every process of the groups, until none is left, as systemd does with KillMode=control-group
// and SIGKILL.
func (s *service) kill(t *testing.T) {
	t.Helper()
	until(t, "the runner's group is empty", func() bool {
		left := 0
		for _, group := range s.groups {
			for _, pid := range pidsIn(group) {
				if !ended(pid) {
					left++
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
				}
			}
		}
		return left == 0
	})
}

func pidsIn(group string) []int {
	b, _ := os.ReadFile(filepath.Join(group, "cgroup.procs")) // gone: nobody is in it
	var pids []int
	for _, field := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestWholeControlGroupKilled stops the runner as a service manager does that does not ask: every process
// of its control group is killed, at a step of the job's beginning or in its script. The agent, and the
// script, live in a group of their own, or are not there yet.
func TestWholeControlGroupKilled(t *testing.T) {
	t.Parallel()
	for name, there := range map[string]func(r *runner, g gate) bool{
		"before the agent": func(r *runner, _ gate) bool { return len(r.jobs()) > 0 },
		"agent started":    func(r *runner, _ gate) bool { return inEnvironment(r, "stderr") },
		"agent recorded":   func(r *runner, _ gate) bool { return inEnvironment(r, "agent") },
		"agent listens":    func(r *runner, _ gate) bool { return inEnvironment(r, "place/sock/agent.sock") },
		"script runs":      func(_ *runner, g gate) bool { return exists(filepath.Join(g.dir, "reached")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			r := newRunner(t, gitlabtest.Start(t, gitlabtest.Options{}))
			r.startAs("", s.wrapper()...)
			g, before := newGate(t), t.TempDir()
			id := r.add(gitlabtest.JobSpec{Script: append(
				append([]string{"echo said before", fmt.Sprintf("echo once >> %s/runs", before)}, g.lines()...), "echo said after", "exit 7",
			)})
			until(t, name, func() bool { return there(r, g) })
			s.kill(t)
			r.kill() // waits for it
			r.co.RunnerDied()
			r.startAs("", s.wrapper()...)
			g.open(t)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			if j.ExitCode != 7 {
				t.Errorf("exit code %d, want 7", j.ExitCode)
			}
			contains(t, log, "01O said before", "01O said after", "ERROR: Job failed: exit status 7")
			if b, err := os.ReadFile(filepath.Join(before, "runs")); err != nil || string(b) != "once\n" {
				t.Errorf("the script ran %q times, want once (%v)", b, err)
			}
			until(t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
		})
	}
}

func inEnvironment(r *runner, name string) bool {
	files, err := filepath.Glob(filepath.Join(r.stateDir(), "envs", "*", name))
	return err == nil && len(files) > 0
}
