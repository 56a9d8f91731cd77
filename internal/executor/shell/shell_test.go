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
