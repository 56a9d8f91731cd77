package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// says is how a log tells of a script's exit code.
func (m machine) says(code int) string {
	if m.shell() {
		return fmt.Sprintf("ERROR: Job failed: exit status %d", code)
	}
	return fmt.Sprintf("ERROR: Job failed: exit code %d", code)
}

// short is a job's timeout: d, or longer where the time until the script runs may be that long on a busy machine.
func (m machine) short(d time.Duration) time.Duration {
	if m.shell() {
		return d
	}
	return max(d, 25*time.Second)
}

// timed adds a job with a timeout of d, or longer where the time until the script runs may be that long, and waits until the
// script has come to the gate g. A machine may be so busy that the time is over before: then a job with more time is added.
// begun is before the job's.
func (r *runner) timed(t *testing.T, d time.Duration, g gate, s gitlabtest.JobSpec) (id int64, timeout time.Duration, begun time.Time) {
	t.Helper()
	const tries = 4
	s.Timeout = r.m.short(d)
	for range tries {
		begun = time.Now()
		id = r.add(s)
		until(t, "the script reaches its gate, or its time is over", func() bool {
			j, ok := r.co.Job(id)
			return g.reached() || ok && j.Over()
		})
		if g.reached() {
			return id, s.Timeout, begun
		}
		s.Timeout *= 2
	}
	t.Fatalf("a job of which %s have passed has not come to its gate", s.Timeout/2)
	return 0, 0, begun
}

// agent is the process of the one job's agent that runs its script.
func (r *runner) agent() (pid int) {
	t := r.t
	t.Helper()
	if r.m.shell() {
		return agentPID(t, r.environments()[0])
	}
	return r.buildPID(r.container(r.m.client(t), r.owner(t), "build"))
}

// agentOf is the process of the agent that runs the script of an environment.
func (r *runner) agentOf(env string) (pid int) {
	r.t.Helper()
	if r.m.shell() {
		return agentPID(r.t, env)
	}
	return r.buildPID("skerry-" + filepath.Base(env) + "-build")
}

// buildPID is the first process of a container.
func (r *runner) buildPID(name string) (pid int) {
	t := r.t
	t.Helper()
	c, err := r.m.client(t).ContainerInspect(t.Context(), name, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Container.State.Pid <= 1 {
		t.Fatalf("the build container's process: %+v", c.Container.State)
	}
	return c.Container.State.Pid
}

// script is a process of the script that waits at the gate, as this machine sees it.
func (r *runner) script(g gate) (pid int) {
	r.t.Helper()
	if r.m.shell() {
		return scriptPID(r.t, r.agent())
	}
	port := strconv.Itoa(g.door.listener.Addr().(*net.TCPAddr).Port)
	until(r.t, "the process that waits at the gate", func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			b, err := os.ReadFile(f)
			if args := strings.Split(string(b), "\x00"); err == nil && len(args) > 2 && args[0] == "nc" && args[2] == port {
				pid, err = strconv.Atoi(filepath.Base(filepath.Dir(f)))
				return err == nil
			}
		}
		return false
	})
	return pid
}
