package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

func want(t *testing.T, j gitlabtest.Job, log, status, reason string) {
	t.Helper()
	if j.Status != status || j.Reason != reason {
		t.Errorf("the job ended %s, %q; want %s, %q\n%s", j.Status, j.Reason, status, reason, log)
	}
}

func contains(t *testing.T, log string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(log, text) {
			t.Errorf("%q is not in the log:\n%s", text, log)
		}
	}
}

func TestTermLeavesJobsToTheNextStart(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo went on")})
		g.await(t)
		r.signal(syscall.SIGTERM)
		r.co.RunnerDied()
		g.open(t)
		r.start()
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "went on")
	})
}

func TestQuitDrains(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo finished")})
		g.await(t)
		if err := r.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		select {
		case <-r.stopped:
		case <-time.After(patience):
			t.Fatal("the runner does not end after QUIT")
		}
		if left := r.environments(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestRunnerUnregisteredMeanwhile(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo still here")})
		g.await(t)
		r.kill()
		r.co.RunnerDied()
		if err := os.WriteFile(filepath.Join(r.dir, "config.toml"), []byte("concurrent = 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "still here")
	})
}

func TestCoordinatorGone(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		id := r.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo written while it was away")})
		g.await(t)
		r.co.Down()
		g.open(t)
		until(t, "the job ends although the coordinator is away", func() bool {
			return strings.Contains(r.log.String(), "could not be delivered") || len(r.environments()) == 0
		})
		r.kill() // and the runner is killed while it has nobody to tell
		r.start()
		r.co.RunnerDied()
		if err := r.co.Up(); err != nil {
			t.Fatal(err)
		}
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "written while it was away", "Job succeeded")
	})
}

func TestKilledBetweenAnswerAndRecord(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		co := m.coordinator(t, gitlabtest.Options{Limits: gitlabtest.Limits{Pending: 2 * time.Second}})
		r := m.runner(t, co)
		handed := make(chan struct{})
		co.Fault(fault.Fault{Endpoint: gitlabtest.EndpointRequest, Skip: 1, Handle: true, Cut: true, Then: func() { close(handed) }})
		r.start()
		atOnce(t, "the runner asks", func() bool { return strings.Contains(r.log.String(), "request_job") })
		id := r.add(gitlabtest.JobSpec{Script: []string{"echo at last"}})
		select {
		case <-handed:
			r.restart()
		case <-time.After(patience):
			t.Fatal("the job was not handed out")
		}
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "at last")
	})
}

func TestKilledAgentIsASystemFailure(t *testing.T) {
	t.Parallel()
	r := newRunner(t, gitlabtest.Start(t, gitlabtest.Options{}))
	r.start()
	g := newGate(t)
	id := r.add(gitlabtest.JobSpec{Script: append([]string{"echo said before"}, g.lines()...)})
	g.await(t)
	until(t, "the output is in the spool", func() bool { // what is still in the pipe dies with the agent
		files, _ := filepath.Glob(filepath.Join(r.stateDir(), "envs", "*", "place", "stages", "step_script", "spool", "segment-*"))
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Count(string(b), "said before") >= 2 {
				return true
			}
		}
		return false
	})
	if err := syscall.Kill(agentPID(t, r.environments()[0]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusFailed, "runner_system_failure")
	contains(t, log, "said before", "ERROR: Job failed (system failure)", "agent")
}

func TestCancelIsNoticedBySilentJobs(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		for name, c := range map[string]struct {
			cancel func(*gitlabtest.Coordinator, int64)
			after  bool
		}{
			"gracefully": {(*gitlabtest.Coordinator).Cancel, true},
			"at once":    {(*gitlabtest.Coordinator).ForceCancel, false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.coordinator(t, gitlabtest.Options{TraceInterval: 60}))
				r.start()
				g, after := m.gate(t), m.gate(t)
				after.open(t)
				id := r.add(gitlabtest.JobSpec{
					Script:      append(g.lines(), "echo never"),
					AfterScript: append([]string{"echo after as $CI_JOB_STATUS"}, after.lines()...),
				})
				g.await(t)
				ended := func() bool { return true }
				if m.shell() {
					pid := scriptPID(t, agentPID(t, r.environments()[0]))
					ended = func() bool { return syscall.Kill(pid, 0) != nil }
				}
				c.cancel(r.co, id)
				until(t, "the script's process ends", ended)
				j, log := r.wait(id)
				want(t, j, log, gitlabtest.StatusCanceled, j.Reason)
				if c.after {
					contains(t, log, "after as canceled")
				}
				if strings.Contains(log, "01O never") {
					t.Errorf("the script went on:\n%s", log)
				}
				if ran := after.reached(); ran != c.after {
					t.Errorf("after_script ran: %v, want %v", ran, c.after)
				}
			})
		}
	})
}

// scriptPID is the pid of a child of the agent that runs.
func scriptPID(t *testing.T, agent int) int {
	t.Helper()
	var pid int
	until(t, "the agent has a child", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", agent)) // a child belongs to the thread that made it
		for _, f := range tasks {
			b, _ := os.ReadFile(f) // the thread has ended: it has none
			for field := range strings.FieldsSeq(string(b)) {
				var err error
				if pid, err = strconv.Atoi(field); err == nil && !ended(pid) {
					return true
				}
			}
		}
		return false
	})
	return pid
}

func TestNothingIsLeftRunning(t *testing.T) {
	t.Parallel()
	r := newRunner(t, gitlabtest.Start(t, gitlabtest.Options{}))
	r.start()
	pids, escaped := t.TempDir(), strings.ReplaceAll(written("$$"), "$", `\$`)
	id := r.add(gitlabtest.JobSpec{Script: []string{
		fmt.Sprintf("sleep 1000 & echo %s > %s/plain", written("$!"), pids),
		fmt.Sprintf(`setsid sh -c "echo %s > %s/session; exec sleep 1000" > /dev/null 2>&1 &`, escaped, pids),
		fmt.Sprintf(`(trap '' TERM; sh -c "echo %s > %s/deaf; exec sleep 1000" &)`, escaped, pids),
		fmt.Sprintf("while [ ! -s %s/session ] || [ ! -s %s/deaf ]; do sleep 0.01; done", pids, pids),
	}})
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusSuccess, "")
	for _, name := range []string{"plain", "session", "deaf"} {
		if running(t, filepath.Join(pids, name)) {
			t.Errorf("the %s process is still there", name)
		}
	}
}

func TestManyJobsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRunner(t, gitlabtest.Start(t, gitlabtest.Options{}), "request_concurrency = 4")
	config := filepath.Join(r.dir, "config.toml")
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(string(b), "concurrent = 10", "concurrent = 200", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGate(t)
	var ids []int64
	for i := range 200 {
		ids = append(ids, r.add(gitlabtest.JobSpec{Script: append(g.lines(), fmt.Sprintf("echo job %d of many", i), fmt.Sprintf("exit %d", i%2))}))
	}
	r.start()
	r.patience = 4 * patience
	untilWithin(t, r.patience, "all jobs run at once", func() bool { return len(r.environments()) == 200 })
	r.restart()
	g.open(t)
	for i, id := range ids {
		j, log := r.wait(id)
		if i%2 == 0 {
			want(t, j, log, gitlabtest.StatusSuccess, "")
		} else {
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		}
		contains(t, log, fmt.Sprintf("01O job %d of many", i))
	}
}

func TestEndlessOutput(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}), "output_limit = 512")
		r.patience = 3 * patience
		size := 1000000000
		if !m.shell() || agenttest.Race { // which makes each byte dear, and takes memory of its own
			size /= 10
		}
		r.start()
		id := r.add(gitlabtest.JobSpec{Script: []string{
			"echo the first line", fmt.Sprintf("(yes 0123456789012345678901234567890123456789 || true) | head -c %d", size), "echo the last line",
		}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		peak := make(chan int64)
		go func() { peak <- peakMemory(ctx, r.cmd.Process.Pid) }()
		j, log := r.wait(id)
		cancel()
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "the first line", "the last line", "Job succeeded")
		if len(log) > 520<<10 {
			t.Errorf("the log has %d bytes, the limit is 512 KiB", len(log))
		}
		if p := <-peak; p > 200<<20 && !agenttest.Race {
			t.Errorf("the runner took %d MiB of memory", p>>20)
		}
	})
}

// peakMemory is VmHWM of a process when ctx ends.
func peakMemory(ctx context.Context, pid int) int64 {
	<-ctx.Done()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return -1
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kib << 10
}

func TestNoSecretIsReadableByOthers(t *testing.T) {
	t.Parallel()
	co := gitlabtest.Start(t, gitlabtest.Options{})
	if _, err := co.AddProject(t.Context(), "group/project", repository(t)); err != nil {
		t.Fatal(err)
	}
	r := newRunner(t, co)
	r.start()
	g := newGate(t)
	const secret = "very-secret-value-of-a-variable"
	id := r.add(gitlabtest.JobSpec{
		Project: "group/project", Script: append(g.lines(), "echo $SECRET $CI_JOB_TOKEN", "cat $FILE"),
		Variables: []jobpayload.Variable{{Key: "SECRET", Value: secret, Masked: true}, {Key: "FILE", Value: secret, File: true, Masked: true}},
	})
	g.await(t)
	j, _ := co.Job(id)
	for _, s := range []string{secret, j.Token, r.token} {
		for _, f := range readableByOthers(t, r.dir) {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), s) {
				t.Errorf("%s can be read by others and holds a secret", f)
			}
		}
		if argumentsHold(t, s) {
			t.Error("some process has a secret in its arguments")
		}
		if strings.Contains(r.log.String(), s) {
			t.Error("the runner's log holds a secret")
		}
	}
	g.open(t)
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusSuccess, "")
	for _, s := range []string{secret, j.Token, r.token} {
		if strings.Contains(log, s) {
			t.Errorf("the job's log holds a secret:\n%s", log)
		}
	}
	b, err := exec.Command("grep", "-rlF", j.Token, filepath.Join(r.dir, "builds")).Output()
	if err == nil {
		t.Errorf("the job's token is left in %s", b)
	}
}

// readableByOthers lists the files below dir that somebody else could open.
func readableByOthers(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it went away meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // it went away meanwhile
		}
		if d.IsDir() && path != dir && info.Mode().Perm()&0o011 == 0 {
			return filepath.SkipDir
		}
		if info.Mode().IsRegular() && info.Mode().Perm()&0o044 != 0 {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// argumentsHold reports whether some process of the machine has s in its arguments.
func argumentsHold(t *testing.T, s string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), s) {
			return true
		}
	}
	return false
}
