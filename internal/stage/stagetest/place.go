// Package stagetest has a place for tests of stages: real processes over os/exec, and output that is kept.
package stagetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/worker"
)

// Place is a Place over os/exec whose output is kept.
type Place struct {
	stage.Place
	Out *Output // both streams

	mu       sync.Mutex
	Commands []stage.Command
}

// New makes a place whose directories go with the test, with the shells and the git of this machine.
func New(t *testing.T) *Place {
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
	p := &Place{Out: &Output{}}
	p.Place = stage.Place{Start: p.start, Stdout: p.Out, Stderr: p.Out, Archives: archives, Scratch: scratch}
	for _, name := range []string{"bash", "sh", "pwsh"} {
		if path, err := exec.LookPath(name); err == nil {
			p.Shells = append(p.Shells, path)
		}
	}
	p.Git, _ = exec.LookPath("git")
	return p
}

// Run runs spec in p with a context of the test.
func (p *Place) Run(t *testing.T, spec *stage.Spec) stage.Result {
	t.Helper()
	return worker.Run(t.Context(), p.Place, spec)
}

func (p *Place) start(c stage.Command) (stage.Process, error) {
	p.mu.Lock()
	p.Commands = append(p.Commands, c)
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
	tp := &process{cmd: cmd, over: make(chan struct{})}
	go func() {
		defer close(tp.over)
		_ = cmd.Wait()
	}()
	return tp, nil
}

type process struct {
	cmd  *exec.Cmd
	over chan struct{}
}

func (p *process) PID() int { return p.cmd.Process.Pid }

func (p *process) Wait() (stage.Exit, error) {
	<-p.over
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return stage.Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}, nil
	}
	return stage.Exit{Code: status.ExitStatus()}, nil
}

func (p *process) End(grace time.Duration) {
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

// Output keeps what was written.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Take returns what was written since the last take.
func (o *Output) Take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.buf.Reset()
	return o.buf.String()
}

// WriteFile writes a file and makes the directories above it.
func WriteFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ReadFile is the content of a file.
func ReadFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
