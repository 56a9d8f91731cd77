package container

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
)

// places is an environment whose places are directories of this machine.
func places(t *testing.T) *environment {
	t.Helper()
	v := &environment{dir: t.TempDir(), b: &blueprint{Agent: &carrier.Way{}}, log: slog.New(slog.DiscardHandler)}
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		if err := makePlace(filepath.Join(v.dir, string(place)), agent.Config{Shared: true}); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// TestAgentsEndByThemselves wants agents to end well, so that no engine has to kill their containers.
func TestAgentsEndByThemselves(t *testing.T) {
	t.Parallel()
	v := places(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var agents []*exec.Cmd
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		exe := filepath.Join(v.dir, string(place), "agent")
		// By another process: a program that this one writes may be busy while other tests start theirs.
		if out, err := exec.CommandContext(ctx, "cp", agenttest.Static(t), exe).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		cmd := exec.CommandContext(ctx, exe)
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		agents = append(agents, cmd)
		again := time.NewTicker(5 * time.Millisecond)
		defer again.Stop()
		for {
			conn, err := v.connect(ctx, place)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-again.C:
			case <-ctx.Done():
				t.Fatal(err)
			}
		}
	}
	var ending sync.WaitGroup
	for _, cmd := range agents {
		ending.Go(func() {
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", cmd.Path, err)
			}
		})
	}
	over := make(chan struct{})
	go func() {
		ending.Wait()
		close(over)
	}()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		v.endPlaces(ctx) // on a slow machine its time may not do
		select {
		case <-over:
			return
		case <-again.C:
		}
	}
}

// TestWhoDoesNotEndIsNotWaitedFor has one place whose socket nobody serves, and one without any.
func TestWhoDoesNotEndIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	v := places(t)
	dir, err := os.Open(filepath.Join(v.dir, string(executor.Build), "sock")) // the path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	l, err := net.Listen("unix", "/proc/self/fd/"+strconv.Itoa(int(dir.Fd()))+"/"+agent.SockName)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v.endPlaces(ctx)
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
}
