package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/procstat"
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

// remove removes the groups, which must be empty by then: no job is left, and no group of a job. Podman's API, where the
// runner has started it, stays for a while: it is ended first.
func (s *service) remove(t *testing.T) {
	t.Helper()
	for i, parent := range s.parents {
		engines, _ := filepath.Glob(filepath.Join(parent, "skerry-podman-*"))
		for _, group := range engines {
			until(t, "Podman's group is empty", func() bool {
				killAll(t, group)
				return len(pidsIn(group)) == 0
			})
		}
		until(t, "the runner's group is empty", func() bool { return len(pidsIn(s.groups[i])) == 0 })
		for _, group := range append(engines, s.groups[i], parent) {
			removeGroup(t, group)
		}
	}
}

// removeGroup removes a group in which nobody is any more. The kernel lets a process leave a moment after it has ended.
func removeGroup(t *testing.T, group string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = os.Remove(group); !errors.Is(err, syscall.EBUSY) {
			break
		}
	}
	if err != nil {
		left, _ := filepath.Glob(filepath.Join(group, "*", "cgroup.procs"))
		t.Errorf("%v; groups below it: %v", err, left)
	}
}

// start starts the runner in the groups: it stops before it becomes the runner, for only root may move it.
func (s *service) start(t *testing.T, r *runner) {
	t.Helper()
	r.startAs("", "sh", "-c", `kill -STOP $$; exec "$@"`, "wait")
	pid := r.cmd.Process.Pid
	until(t, "the process that becomes the runner waits", func() bool {
		st, err := procstat.Read(pid)
		return err == nil && st.State == "T"
	})
	for _, group := range s.groups {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// kill kills every process of the groups, until none is left, as systemd does with KillMode=control-group
// and SIGKILL.
func (s *service) kill(t *testing.T) {
	t.Helper()
	killAll(t, s.groups...)
}

func killAll(t *testing.T, groups ...string) {
	t.Helper()
	until(t, "the groups are empty", func() bool {
		left := 0
		for _, group := range groups {
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
// script, live in a group of their own, or are not there yet. So do containers, also those of a Podman that the runner
// has started itself, whose processes watch over them.
func TestWholeControlGroupKilled(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		steps := map[string]func(r *runner, g gate) bool{
			"before the agent": func(r *runner, _ gate) bool { return len(r.jobs()) > 0 },
			"script runs":      func(_ *runner, g gate) bool { return g.reached() },
		}
		if m.shell() {
			steps["agent started"] = func(r *runner, _ gate) bool { return inEnvironment(r, "stderr") }
			steps["agent recorded"] = func(r *runner, _ gate) bool { return inEnvironment(r, "agent") }
			steps["agent listens"] = func(r *runner, _ gate) bool { return inEnvironment(r, "place/sock/agent.sock") }
		}
		for name, there := range steps {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				wholeGroupKilled(t, m, false, there)
			})
		}
		if m.engine.Name != "podman" {
			return
		}
		for name, there := range map[string]func(r *runner, g gate) bool{
			"own Podman: listens": func(r *runner, _ gate) bool { return exists(filepath.Join(r.stateDir(), "podman", "podman.sock")) },
			"own Podman: helper": func(r *runner, _ gate) bool {
				return inEnvironment(r, "helper/sock/agent.sock")
			},
			"own Podman: script": steps["script runs"],
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				wholeGroupKilled(t, m, true, there)
			})
		}
	})
}

// ownPodman has a runner that uses the rootful Podman start its API itself.
func (r *runner) ownPodman() {
	r.t.Helper()
	r.editConfig(fmt.Sprintf("host = %q", r.m.engine.Address.Host), fmt.Sprintf("host = %q", "unix://"+filepath.Join(r.stateDir(), "podman", "podman.sock")))
	r.env = append(r.env, "CONTAINERS_CONF=/var/lib/skerry-test-engines/containers.conf")
}

// wholeGroupKilled kills the group when the runner is there; own lets the runner start Podman.
func wholeGroupKilled(t *testing.T, m machine, own bool, there func(r *runner, g gate) bool) {
	t.Helper()
	s := newService(t)
	r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
	if own {
		r.ownPodman()
	}
	s.start(t, r)
	g, before := m.gate(t), t.TempDir()
	runs := func() int { return g.door.visitors() }
	script := []string{"echo said before"}
	if m.shell() {
		script = append(script, fmt.Sprintf("echo once >> %s/runs", before))
		runs = func() int {
			b, _ := os.ReadFile(filepath.Join(before, "runs")) // without it: none
			return strings.Count(string(b), "once\n")
		}
	}
	id := r.add(gitlabtest.JobSpec{Script: append(append(script, g.lines()...), "echo said after", "exit 7")})
	atOnce(t, "the step", func() bool { return there(r, g) })
	s.kill(t)
	r.kill() // waits for it
	r.co.RunnerDied()
	s.start(t, r)
	g.open(t)
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusFailed, "script_failure")
	if j.ExitCode != 7 {
		t.Errorf("exit code %d, want 7", j.ExitCode)
	}
	contains(t, log, "01O said before", "01O said after", m.says(7))
	if n := runs(); n != 1 {
		t.Errorf("the script ran %d times, want once", n)
	}
	until(t, "the environment is gone", func() bool { return len(r.environments()) == 0 })
}

func inEnvironment(r *runner, name string) bool {
	files, err := filepath.Glob(filepath.Join(r.stateDir(), "envs", "*", name))
	return err == nil && len(files) > 0
}
