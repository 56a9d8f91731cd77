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

// clockVariable names the environment variable with the file that says how far the wall clock of a program of
// jumpingPrograms is off: a little-endian 64-bit number of seconds.
const clockVariable = "E2E_CLOCK_FILE"

// jumped is added to the standard library's time.go. Now is called where no system call may be made (when a timer
// fires), so the file is mapped.
const jumped = `
var jump = mapJump()

func mapJump() *int64 {
	name, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return new(int64)
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
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
		out, err := exec.Command("go", "build", "-buildvcs=false", "-overlay", overlay, "-o", file, "gitlab.com/skerry/skerry/cmd/"+pkg).CombinedOutput()
		if err != nil {
			return programs, fmt.Errorf("build %s with another clock: %w\n%s", pkg, err, out)
		}
	}
	return programs, nil
})

// wallClock is the file of clockVariable.
type wallClock struct {
	t    *testing.T
	file *os.File
}

func newWallClock(t *testing.T) wallClock {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "clock"))
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

// TestWallClockJumps moves the wall clock of runner and agent by more than a day while jobs run, with the runner there
// and while it is away: no job ends early or late, and nothing of a log is lost.
func TestWallClockJumps(t *testing.T) {
	t.Parallel()
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
			programs, err := jumpingPrograms()
			if err != nil {
				t.Fatal(err)
			}
			r := newRunner(t, gitlabtest.Start(t, gitlabtest.Options{TraceInterval: 1}))
			clock := newWallClock(t)
			r.env = append(r.env, "SKERRY_AGENT="+programs.agent, clockVariable+"="+clock.file.Name())
			r.startAs(programs.runner)
			g, h := newGate(t), newGate(t)
			id := r.add(gitlabtest.JobSpec{Timeout: time.Hour, Script: append(append([]string{"echo said before"}, g.lines()...), "echo said after", "exit 7")})
			timeout := 8 * time.Second
			if c.restart {
				timeout = time.Hour // an adopted job has two minutes left at least
			}
			other := r.add(gitlabtest.JobSpec{Timeout: timeout, Script: h.lines()})
			g.await(t)
			h.await(t)
			begun := time.Now()
			clock.set(c.jump)
			if c.restart {
				r.kill()
				r.co.RunnerDied()
				r.startAs(programs.runner)
			}
			g.open(t)
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "01O said before", "01O said after", "ERROR: Job failed: exit status 7")
			jumped := time.Now().Add(c.jump).UTC().Format("2006-01-02T")
			if moved := strings.Contains(log, jumped); c.jump > 0 && !moved {
				t.Errorf("the clock has not jumped to %s:\n%s", jumped, log)
			}
			if c.restart {
				h.open(t)
				j, log = r.wait(other)
				want(t, j, log, gitlabtest.StatusSuccess, "")
			} else {
				j, log = r.wait(other)
				want(t, j, log, gitlabtest.StatusFailed, "job_execution_timeout")
				if took := time.Since(begun); took < timeout/2 || took > 5*timeout {
					t.Errorf("a timeout of %v was over after about %v", timeout, took)
				}
			}
			until(t, "the jobs are forgotten", func() bool { return len(r.jobs()) == 0 && len(r.environments()) == 0 })
		})
	}
}
