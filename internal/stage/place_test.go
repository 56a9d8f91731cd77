package stage

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testPlace is a Place over os/exec whose output is kept.
type testPlace struct {
	Place
	out *output // both streams

	mu       sync.Mutex
	commands []Command
}

func newPlace(t *testing.T) *testPlace {
	t.Helper()
	archives, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = archives.Close() })
	scratch := t.TempDir()
	if err := os.Chmod(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &testPlace{out: &output{}}
	p.Place = Place{Start: p.start, Stdout: p.out, Stderr: p.out, Archives: archives, Scratch: scratch}
	for _, name := range []string{"bash", "sh", "pwsh"} {
		if path, err := exec.LookPath(name); err == nil {
			p.Shells = append(p.Shells, path)
		}
	}
	p.Git, _ = exec.LookPath("git")
	return p
}

// run runs spec in p with a context of the test.
func (p *testPlace) run(t *testing.T, spec *Spec) Result {
	t.Helper()
	return Run(t.Context(), p.Place, spec)
}

func (p *testPlace) start(c Command) (Process, error) {
	p.mu.Lock()
	p.commands = append(p.commands, c)
	p.mu.Unlock()
	cmd := &exec.Cmd{
		Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir, ExtraFiles: c.ExtraFiles,
		Stdout: c.Stdout, Stderr: c.Stderr, WaitDelay: time.Second,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	tp := &testProcess{cmd: cmd, over: make(chan struct{})}
	go func() {
		defer close(tp.over)
		_ = cmd.Wait()
	}()
	return tp, nil
}

type testProcess struct {
	cmd  *exec.Cmd
	over chan struct{}
}

func (p *testProcess) PID() int { return p.cmd.Process.Pid }

func (p *testProcess) Wait() (Exit, error) {
	<-p.over
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}, nil
	}
	return Exit{Code: status.ExitStatus()}, nil
}

func (p *testProcess) End(grace time.Duration) {
	_ = syscall.Kill(-p.PID(), syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.over:
	case <-timer.C:
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.over
}

// output keeps what was written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// take returns what was written since the last take.
func (o *output) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.buf.Reset()
	return o.buf.String()
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
