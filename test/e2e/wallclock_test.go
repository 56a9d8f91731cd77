package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// clockFile says how far the wall clock of a program of jumpingPrograms is off: a little-endian 64-bit number of
// seconds. The environment variable clockVariable names it; in containers, whose agents have no variables of the test's,
// it is in clockDir.
const (
	clockVariable = "E2E_CLOCK_FILE"
	clockDir      = "/e2e-clock"
	clockFile     = "clock"
)

// jumped is added to the standard library's time.go. Now is called where no system call may be made (when a timer
// fires), so the file is mapped.
const jumped = `
var jump = mapJump()

func mapJump() *int64 {
	name, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		name = "` + clockDir + "/" + clockFile + `"
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil && !ok {
		return new(int64)
	}
	if err != nil {
		panic(name + ": " + err.Error())
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(name + ": " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&b[0]))
}

func jumped() int64 {
	if jump == nil {
		return 0 // not initialised yet
	}
	return *jump
}
`

// jumpingPrograms builds runner and agent with a wall clock that a test can move: nobody's but theirs. Their
// monotonic and boot clocks are the kernel's, as on a machine whose clock is set. The library's source is replaced
// for the compiler only.
var jumpingPrograms = sync.OnceValues(func() (programs struct{ runner, agent string }, err error) {
	first, err := program()
	if err != nil {
		return programs, err
	}
	dir := filepath.Dir(first) // removed with it
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return programs, err
	}
	path := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(path)
	if err != nil {
		return programs, err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(b), now) != 1 {
		return programs, fmt.Errorf("%s has no %q: look how time.Now reads the clock in this version of Go", path, now)
	}
	text := strings.Replace(string(b), now, now+"\tsec += jumped()\n", 1)
	for _, name := range []string{"syscall", "unsafe"} {
		if !strings.Contains(text, fmt.Sprintf("\t%q\n", name)) {
			text = strings.Replace(text, "import (\n", fmt.Sprintf("import (\n\t%q\n", name), 1)
		}
	}
	replaced, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "time.json")
	j, err := json.Marshal(map[string]any{"Replace": map[string]string{path: replaced}})
	if err != nil {
		return programs, err
	}
	for file, content := range map[string]string{replaced: text + jumped, overlay: string(j)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return programs, err
		}
	}
	programs.runner, programs.agent = filepath.Join(dir, "jumping-skerry"), filepath.Join(dir, "jumping-skerry-agent")
	for file, pkg := range map[string]string{programs.runner: "skerry", programs.agent: "skerry-agent"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-overlay", overlay, "-o", file, "gitlab.com/skerry/skerry/cmd/"+pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // for images without a C library
		out, err := build.CombinedOutput()
		if err != nil {
			return programs, fmt.Errorf("build %s with another clock: %w\n%s", pkg, err, out)
		}
	}
	return programs, nil
})

// wallClock is a clockFile.
type wallClock struct {
	t    *testing.T
	file *os.File
}

// wallClock makes the clock of programs of m's user.
func (m machine) wallClock(t *testing.T) wallClock {
	t.Helper()
	f, err := os.Create(filepath.Join(m.dir(t), clockFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c := wallClock{t: t, file: f}
	c.set(0)
	return c
}

// set puts the clock so far before (or behind) the machine's.
func (c wallClock) set(off time.Duration) {
	c.t.Helper()
	b := binary.LittleEndian.AppendUint64(nil, uint64(off/time.Second)) //nolint:gosec // two's complement is meant
	if _, err := c.file.WriteAt(b, 0); err != nil {
		c.t.Fatal(err)
	}
}

// TestWallClockJumps moves the wall clock of runner and agents by more than a day while jobs run, with the runner there
// and while it is away: no job ends early or late, and nothing of a log is lost. Engines keep their time. A timeout is
// waited for on this machine alone: the agents that count it are the same everywhere.
func TestWallClockJumps(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, m machine) {
		if !m.shell() {
			jumpBothWays(t, m)
			return
		}
		for name, c := range map[string]struct {
			jump    time.Duration
			restart bool
		}{
			"forward":               {jump: 30 * time.Hour},
			"back":                  {jump: -30 * time.Hour},
			"forward and a restart": {jump: 30 * time.Hour, restart: true},
			"back and a restart":    {jump: -30 * time.Hour, restart: true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				jumpOnce(t, m, c.jump, c.restart)
			})
		}
	})
}

// jumping is a runner that is started, with a clock of its own.
type jumping struct {
	*runner
	clock   wallClock
	program string
}

func (m machine) jumping(t *testing.T) jumping {
	t.Helper()
	programs, err := jumpingPrograms()
	if err != nil {
		t.Fatal(err)
	}
	clock := m.wallClock(t)
	r := m.runnerWith(t, m.coordinator(t, gitlabtest.Options{TraceInterval: 1}), nil,
		fmt.Sprintf("volumes = [%q]", filepath.Dir(clock.file.Name())+":"+clockDir+":ro"))
	r.env = append(r.env, "SKERRY_AGENT="+programs.agent, clockVariable+"="+clock.file.Name())
	j := jumping{r, clock, programs.runner}
	j.startAs(j.program)
	return j
}

// jump moves the clock, and lets the runner be away meanwhile if restart says so.
func (r jumping) jump(length time.Duration, restart bool) {
	r.clock.set(length)
	if restart {
		r.kill()
		r.co.RunnerDied()
		r.startAs(r.program)
	}
}

// waiting is a job that waits at the gate.
func waiting(g gate, timeout time.Duration) gitlabtest.JobSpec {
	return gitlabtest.JobSpec{Timeout: timeout, Script: append(append([]string{"echo said before"}, g.lines()...), "echo said after", "exit 7")}
}

// ends waits for such a job; its log has to have times of the clock that is off by so much.
func (r jumping) ends(t *testing.T, id int64, off time.Duration) {
	t.Helper()
	day := func() string { return time.Now().Add(off).UTC().Format("2006-01-02T") }
	from := day()
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusFailed, "script_failure")
	contains(t, log, "01O said before", "01O said after", r.m.says(7))
	if off > 0 && !strings.Contains(log, from) { // the log's own times do not go back
		contains(t, log, day()) // it has become midnight
	}
}

func jumpOnce(t *testing.T, m machine, length time.Duration, restart bool) {
	t.Helper()
	r := m.jumping(t)
	g, h := m.gate(t), m.gate(t)
	id := r.add(waiting(g, time.Hour))
	g.await(t)
	timeout := 8 * time.Second
	if restart {
		timeout = time.Hour // an adopted job has two minutes left at least
	}
	other, timeout, begun := r.timed(t, timeout, h, waiting(h, 0))
	r.jump(length, restart)
	g.open(t)
	r.ends(t, id, length)
	if restart {
		h.open(t)
		r.ends(t, other, length)
	} else {
		j, log := r.wait(other) // and not for a day
		want(t, j, log, gitlabtest.StatusFailed, "job_execution_timeout")
		if took := time.Since(begun); took < timeout {
			t.Errorf("a timeout of %v was over after about %v", timeout, took)
		}
	}
	until(t, "the jobs are forgotten", func() bool { return len(r.jobs()) == 0 && len(r.environments()) == 0 })
}

// jumpBothWays lets jobs end, and another begin, while the clock is before the engine's, and one while it is behind.
func jumpBothWays(t *testing.T, m machine) {
	t.Helper()
	r := m.jumping(t)
	g, h, k := m.gate(t), m.gate(t), m.gate(t)
	first, second := r.add(waiting(g, time.Hour)), r.add(waiting(h, time.Hour))
	g.await(t)
	h.await(t)
	const length = 30 * time.Hour
	r.jump(length, false)
	g.open(t)
	r.ends(t, first, length)
	third := r.add(waiting(k, time.Hour))
	k.await(t)
	r.jump(-length, true)
	h.open(t)
	r.ends(t, second, -length)
	k.open(t)
	r.ends(t, third, length)
	until(t, "the jobs are forgotten", func() bool { return len(r.jobs()) == 0 && len(r.environments()) == 0 })
}
