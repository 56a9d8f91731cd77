package podman_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/podman"
	"gitlab.com/skerry/skerry/internal/executor/scope"
)

// service is one whose podman is a program of the test's.
func service(t *testing.T, script string) *podman.Service {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "podman")
	syscall.ForkLock.RLock() // a process that another test starts meanwhile would have the file open for writing
	err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return &podman.Service{Program: program, Dir: filepath.Join(dir, "p"), Owner: "0123456789abcdef", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func TestEnsureSaysWhyNot(t *testing.T) {
	t.Parallel()
	err := service(t, "echo no storage here >&2; exit 125").Ensure(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no storage here") || !strings.Contains(err.Error(), "125") {
		t.Errorf("%v, want what podman said", err)
	}
	long := service(t, "exit 0")
	long.Dir = filepath.Join(long.Dir, strings.Repeat("x", 120))
	if err := long.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "shorter state_dir") {
		t.Errorf("%v, want to hear of the path", err)
	}
	none := service(t, "")
	none.Program = "/no/such/podman"
	if err := none.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "/no/such/podman") {
		t.Errorf("%v, want the program's name", err)
	}
}

// TestEnsure starts the real one, which answers, is out of this process's control group, is found again,
// and is started anew after it was killed.
func TestEnsure(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("podman")
	if err != nil {
		t.Skip("no podman on this machine")
	}
	s := service(t, `echo $$ >>"$(dirname "$0")/pids"; exec `+path+` "$@"`)
	pids := func() []string {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(s.Program), "pids"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(b))
	}
	t.Cleanup(func() {
		for _, p := range pids() {
			pid, _ := strconv.Atoi(p)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		scope.RemoveSiblings("skerry-podman-"+s.Owner, nil)
	})
	for range 2 {
		if err := s.Ensure(t.Context()); err != nil {
			if strings.Contains(err.Error(), "ended at once") {
				t.Skip("podman does not work here: ", err)
			}
			t.Fatal(err)
		}
	}
	first := pids()
	if len(first) != 1 {
		t.Fatalf("%d services were started, want 1", len(first))
	}
	pid, _ := strconv.Atoi(first[0])
	if os.Getuid() == 0 && scope.Together(pid) {
		t.Error("the service is in the runner's control group")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := net.Dial("unix", strings.TrimPrefix(s.Address(), "unix://"))
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(pids()); n != 2 {
		t.Errorf("%d services were started in all, want 2", n)
	}
}
