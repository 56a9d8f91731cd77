package shell_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/executortest"
	"gitlab.com/skerry/skerry/internal/executor/shell"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := shell.Options{Dir: filepath.Join(dir, "envs"), Agent: agenttest.Build(t)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	executortest.Run(t, executortest.Harness{
		New: func(*testing.T) executor.Executor { return shell.New(o, log) },
		Dir: func(t *testing.T) string { return t.TempDir() },
		Kill: func(t *testing.T, ref executor.Ref, _ executor.Place) {
			kill(t, filepath.Join(o.Dir, ref.ID, "agent"))
		},
	})
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// kill kills the process that a pid file names.
func kill(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(b))[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestMissingAgentIsNamed(t *testing.T) {
	t.Parallel()
	e := shell.New(shell.Options{Dir: t.TempDir(), Agent: "/nonexistent/agent"}, slog.New(slog.DiscardHandler))
	_, err := e.Prepare(context.Background(), executor.NewRef("o"), nil, t.Output())
	if err == nil || !strings.Contains(err.Error(), "agent") {
		t.Errorf("Prepare without an agent: %v", err)
	}
}

// serving makes an environment whose agent serves.
func serving(t *testing.T) (shell.Options, *slog.Logger, executor.Ref, executor.Environment) {
	t.Helper()
	o := shell.Options{Dir: t.TempDir(), Agent: agenttest.Build(t)}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ref := executor.NewRef("owner")
	env, err := shell.New(o, log).Prepare(t.Context(), ref, nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := env.Dial(t.Context(), executor.Build)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	return o, log, ref, env
}

// A runner that is killed between an agent's start and its record leaves an agent that no record names.
func TestUnrecordedAgentIsFoundAndEnded(t *testing.T) {
	t.Parallel()
	o, log, ref, _ := serving(t)
	record := filepath.Join(o.Dir, ref.ID, "agent")
	b, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(b))[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	again, err := shell.New(o, log).Prepare(t.Context(), ref, nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		if state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && !strings.Contains(string(state), ") Z ") {
			t.Errorf("the agent that no record named (%d) is still there", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// On a busy machine that agent has its directory long before it listens: it did not die, and the next runner
// waits for it.
func TestUnrecordedAgentThatDoesNotListenYet(t *testing.T) {
	t.Parallel()
	o, log, ref, env := serving(t)
	t.Cleanup(func() { _ = env.Close(context.WithoutCancel(t.Context())) })
	kill(t, filepath.Join(o.Dir, ref.ID, "agent"))
	if err := os.Remove(filepath.Join(o.Dir, ref.ID, "agent")); err != nil {
		t.Fatal(err)
	}
	slow := takeWhenFree(t, filepath.Join(o.Dir, ref.ID, "place", "lock"))
	again, err := shell.New(o, log).Prepare(t.Context(), ref, nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	dialled := make(chan error, 1)
	go func() {
		conn, err := again.Dial(t.Context(), executor.Build)
		if err == nil {
			conn.Close()
		}
		dialled <- err
	}()
	select {
	case err := <-dialled:
		t.Fatalf("while the directory is taken: %v", err)
	case <-time.After(300 * time.Millisecond): // the time in which four agents had been started, and had ended
	}
	slow.Close()
	if err := <-dialled; err != nil {
		t.Errorf("after it: %v", err)
	}
}

// takeWhenFree locks an agent's directory as an agent does, as soon as the killed one has let go of it.
func takeWhenFree(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNothingStaysOfAnEnvironmentThatCannotBeMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := shell.New(shell.Options{Dir: dir, Agent: "/nonexistent/agent"}, slog.New(slog.DiscardHandler))
	if _, err := e.Prepare(t.Context(), executor.NewRef("o"), nil, t.Output()); err == nil {
		t.Fatal("Prepare without an agent")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A runner that died, or whose disk was full, before an environment's ref was written down left a
// directory that says nothing of whose it is; so does one that died while it removed an environment.
func TestReconcileRemovesWhatIsHalfMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := shell.New(shell.Options{Dir: dir}, slog.New(slog.DiscardHandler))
	for _, name := range []string{".o.0123456789abcdef/place", ".other.0123456789abcdef/place", "not-an-environment"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Reconcile(t.Context(), "o", nil); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != ".other.0123456789abcdef" {
		t.Errorf("left: %v, %v; want what is not this owner's", left, err)
	}
}

// A runner that is killed while it removes an environment leaves a part of it, which no job needs but
// whose ref is still kept: adopting it ends the removal.
func TestHalfRemovedEnvironmentIsRemoved(t *testing.T) {
	t.Parallel()
	o := shell.Options{Dir: t.TempDir(), Agent: agenttest.Build(t)}
	ref := executor.NewRef("owner")
	part := filepath.Join(o.Dir, "."+string(ref.Owner)+"."+ref.ID, "place")
	if err := os.MkdirAll(part, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := shell.New(o, slog.New(slog.DiscardHandler)).Adopt(t.Context(), ref); !errors.Is(err, executor.ErrGone) {
		t.Errorf("Adopt of what is half-removed: %v, want ErrGone", err)
	}
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
