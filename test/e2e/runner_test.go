package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// patience bounds every wait of these tests; reaching it is a failure, not a measurement.
const patience = 2 * time.Minute

// program is the path of bin/skerry, built once for all tests of the package, under the race detector when they are.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "skerry-e2e")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other users run it, too
		return "", err
	}
	path := filepath.Join(dir, "skerry")
	// As make build does, or go test under the detector, so that what that has compiled is used again; and without it for images
	// that have no C library.
	args, cgo := []string{"build", "-buildvcs=false", "-o", path}, "CGO_ENABLED=0"
	if agenttest.Race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	} else {
		args = append(args, "-trimpath")
	}
	build := exec.Command("go", append(args, "gitlab.com/skerry/skerry/cmd/skerry")...)
	build.Env = append(os.Environ(), cgo)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build skerry: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	enginetest.Parallel(3)
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// runner is an installation: a directory with configuration and state, and the process when it runs.
type runner struct {
	t        *testing.T
	m        machine
	dir      string
	co       *gitlabtest.Coordinator
	token    string
	env      []string      // beyond the process's own
	patience time.Duration // with a job; 0: patience
	before   int           // bytes of the log that earlier processes wrote
	finish   func()        // ends it and its jobs

	mu      sync.Mutex
	cmd     *exec.Cmd
	log     *lockedBuffer
	stopped chan struct{}
}

// newRunner installs a runner with the shell executor for the coordinator; lines are added to its
// [[runners]] entry.
func newRunner(t *testing.T, co *gitlabtest.Coordinator, lines ...string) *runner {
	t.Helper()
	return machine{}.runner(t, co, lines...)
}

// runner installs a runner for the coordinator; lines are added to its [[runners]] entry.
func (m machine) runner(t *testing.T, co *gitlabtest.Coordinator, lines ...string) *runner {
	t.Helper()
	return m.runnerWith(t, co, lines)
}

// runnerWith is runner with lines for [runners.docker], too.
func (m machine) runnerWith(t *testing.T, co *gitlabtest.Coordinator, lines []string, docker ...string) *runner {
	t.Helper()
	r := &runner{t: t, m: m, dir: m.dir(t), co: co, log: &lockedBuffer{}, token: co.AddRunner(gitlabtest.RunnerSpec{}).Token}
	config := fmt.Sprintf("concurrent = 10\ncheck_interval = 1\nlog_level = \"debug\"\n\n[[runners]]\nname = \"e2e\"\nurl = %q\ntoken = %q\n%s\n%s",
		co.URL(), r.token, strings.Join(lines, "\n"), m.entry(t, docker...))
	if err := os.WriteFile(filepath.Join(r.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(r.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	m.own(t, home)
	m.own(t, filepath.Join(r.dir, "config.toml"))
	r.env = []string{"HOME=" + home, "SKERRY_AGENT=" + m.agent(t)}
	finished, end := false, r.removeEnvironments
	if !m.shell() {
		api := m.client(t)
		end = func() { r.end(api) }
	}
	r.finish = func() {
		if finished {
			return
		}
		finished = true
		if m.shell() {
			r.kill()
		}
		end()
		r.kill()
	}
	t.Cleanup(func() {
		r.finish()
		if strings.Contains(r.log.String(), "WARNING: DATA RACE") {
			t.Error("the runner has a data race")
		}
		if t.Failed() {
			t.Logf("the runner's log:\n%s", r.log)
		}
	})
	return r
}

func (r *runner) stateDir() string { return filepath.Join(r.dir, ".skerry") }

// start starts the runner's process.
func (r *runner) start() {
	r.t.Helper()
	r.startAs("")
}

// kill ends the process with KILL, as a crash would, and waits for its end.
func (r *runner) kill() {
	r.mu.Lock()
	cmd, stopped := r.cmd, r.stopped
	r.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-stopped
}

// restart kills the process and starts another.
func (r *runner) restart() {
	r.t.Helper()
	r.kill()
	r.co.RunnerDied()
	r.start()
}

// signal sends a signal and waits until the process has ended.
func (r *runner) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
	select {
	case <-r.stopped:
	case <-time.After(patience):
		r.t.Fatalf("the runner does not end after %v", s)
	}
}

// environments lists the environments that are there.
func (r *runner) environments() []string {
	dirs, err := filepath.Glob(filepath.Join(r.stateDir(), "envs", "[^.]*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return dirs
}

// agentPID is the pid of the agent in an environment.
func agentPID(t *testing.T, env string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(env, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// removeEnvironments ends what a killed runner left.
func (r *runner) removeEnvironments() {
	for _, env := range r.environments() {
		b, err := os.ReadFile(filepath.Join(env, "agent"))
		var pid int
		if err == nil {
			if _, err := fmt.Sscan(string(b), &pid); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGTERM)
				for end := time.Now().Add(20 * time.Second); !ended(pid) && time.Now().Before(end); {
					time.Sleep(time.Millisecond) // it writes until it ends, and the directory is to be removed
				}
			}
		}
	}
}

// wait returns a job that is over, with its log.
func (r *runner) wait(id int64) (gitlabtest.Job, string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), cmp.Or(r.patience, patience))
	defer cancel()
	j, err := r.co.Wait(ctx, id)
	if err != nil {
		log, _ := r.co.Trace(id)
		now, _ := r.co.Job(id)
		r.t.Fatalf("job %d is %s and does not end: %v\n%s", id, now.Status, err, log)
	}
	log, err := r.co.Trace(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return j, string(log)
}

// add queues a job.
func (r *runner) add(spec gitlabtest.JobSpec) int64 {
	r.t.Helper()
	id, err := r.co.AddJob(r.t.Context(), spec)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// until polls cond; it is for conditions of the file system, which nobody announces. They have to last: it looks less and less
// often, as looking keeps others from their work.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	untilWithin(t, patience, what, cond)
}

// untilWithin is until for what takes longer on a busy machine.
func untilWithin(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	look(t, limit, 50*time.Millisecond, what, cond)
}

// atOnce is until for a moment in which the test does something: it looks all the time.
func atOnce(t *testing.T, what string, cond func() bool) {
	t.Helper()
	look(t, patience, time.Millisecond, what, cond)
}

func look(t *testing.T, limit, pause time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for next := time.Millisecond; !cond(); next = min(next*3/2, pause) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(next)
	}
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
