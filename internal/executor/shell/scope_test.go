package shell_test

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/shell"
)

// groupsNamed lists the control groups of that name, in every hierarchy.
func groupsNamed(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == name {
			found = append(found, path)
		}
		return nil // groups come and go
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// prepared is an environment with its running agent.
func prepared(t *testing.T) (e *shell.Executor, env executor.Environment, ref executor.Ref, pid int) {
	t.Helper()
	dir := t.TempDir()
	e = shell.New(shell.Options{Dir: dir, Agent: agenttest.Build(t)}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ref = executor.NewRef(executor.OwnerID(executor.NewRef("").ID))
	env, err := e.Prepare(t.Context(), ref, nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	b, err := os.ReadFile(filepath.Join(dir, ref.ID, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.Fields(string(b))[0]); err != nil {
		t.Fatal(err)
	}
	return e, env, ref, pid
}

func TestCloseRemovesTheControlGroup(t *testing.T) {
	t.Parallel()
	_, env, ref, _ := prepared(t)
	if err := env.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := groupsNamed(t, "skerry-jobs-"+string(ref.Owner)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A runner that is killed right after it has started an agent leaves it in its own control group, where
// the next stop of its service would end it: the runner that adopts it moves it.
func TestAdoptMovesAnAgentThatWasLeftInTheRunnersGroup(t *testing.T) {
	t.Parallel()
	e, _, ref, pid := prepared(t)
	mine := memberships(t, "self")
	for _, file := range mine {
		if err := os.WriteFile(file, []byte(strconv.Itoa(pid)), 0o600); err != nil {
			t.Fatalf("this test moves a process between control groups, which needs root and a writable hierarchy: %v", err)
		}
	}
	if _, err := e.Adopt(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	for hierarchy, file := range memberships(t, strconv.Itoa(pid)) {
		if file == mine[hierarchy] {
			t.Errorf("the agent is still in the runner's group %s", filepath.Dir(file))
		}
	}
}

// memberships are the cgroup.procs files of a process's groups in the hierarchies that a service
// manager uses.
func memberships(t *testing.T, process string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", process, "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		mounts := []string{}
		switch {
		case parts[0] == "0":
			mounts = []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
		case parts[1] == "name=systemd":
			mounts = []string{"/sys/fs/cgroup/systemd"}
		}
		for _, mount := range mounts {
			file := filepath.Join(mount, parts[2], "cgroup.procs")
			if _, err := os.Stat(file); err == nil {
				files[parts[1]] = file
				break
			}
		}
	}
	if len(files) == 0 {
		t.Fatal("no control group hierarchy that a service manager would use is mounted at /sys/fs/cgroup")
	}
	return files
}
