package shell_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

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

// A runner that is killed between an agent's start and its record leaves an agent that no record names.
func TestUnrecordedAgentIsFoundAndEnded(t *testing.T) {
	t.Parallel()
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
