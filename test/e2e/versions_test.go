package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/journal"
)

// later is the path of a program by two versions later, for all tests of the package.
var later = sync.OnceValues(func() (string, error) {
	path, err := program()
	if err != nil {
		return "", err
	}
	return laterProgram(filepath.Join(filepath.Dir(path), "later"), 2, 2)
})

// laterProgram builds the program as a later version of it would be: with the protocol between runner
// and agent, and the journal's version, so many steps on. The sources are replaced for the compiler
// only (go build -overlay).
func laterProgram(dir string, protocol, journalVersion int) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil { // other users run it, too
		return "", err
	}
	replace := map[string]string{}
	for _, c := range []struct {
		file, constant string
		value          int
	}{
		{"../../internal/agent/wire/wire.go", "Protocol", wire.Protocol + protocol},
		{"../../internal/journal/journal.go", "Version", journal.Version + journalVersion},
	} {
		path, err := filepath.Abs(c.file)
		if err != nil {
			return "", err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		line := regexp.MustCompile(`(?m)^const ` + c.constant + ` = \d+$`)
		if len(line.FindAll(b, -1)) != 1 {
			return "", fmt.Errorf("%s does not define %s once", path, c.constant)
		}
		later := filepath.Join(dir, filepath.Base(path))
		text := line.ReplaceAll(b, []byte("const "+c.constant+" = "+strconv.Itoa(c.value)))
		if err := os.WriteFile(later, text, 0o600); err != nil {
			return "", err
		}
		replace[path] = later
	}
	overlay := filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "skerry")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-overlay", overlay, "-o", path, "gitlab.com/skerry/skerry/cmd/skerry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a later version: %w: %s", err, out)
	}
	return path, nil
}

// upgraded is a runner that has been killed while its job waits at the gate.
func upgraded(t *testing.T, m machine, path string) (*runner, gate, int64) {
	t.Helper()
	r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
	r.startAs(path)
	g := m.gate(t)
	id := r.add(gitlabtest.JobSpec{Script: append(append([]string{"echo said before"}, g.lines()...), "echo said after", "exit 7")})
	g.await(t)
	r.kill()
	r.co.RunnerDied()
	return r, g, id
}

// TestLaterVersionFinishesTheJob updates the runner by two minor versions, of the wire and of the journal,
// while a job runs: the agent and the journal of the older one do.
func TestLaterVersionFinishesTheJob(t *testing.T) {
	t.Parallel()
	later, err := later()
	if err != nil {
		t.Fatal(err)
	}
	everywhere(t, func(t *testing.T, m machine) {
		r, g, id := upgraded(t, m, "")
		r.startAs(later)
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		contains(t, log, "01O said before", "01O said after", m.says(7))
	})
}

// TestEarlierVersionLeavesTheJournal goes back to a version that does not know the journal: it says so,
// ends, and has changed nothing, so that the later version finishes the job.
func TestEarlierVersionLeavesTheJournal(t *testing.T) {
	t.Parallel()
	later, err := later()
	if err != nil {
		t.Fatal(err)
	}
	everywhere(t, func(t *testing.T, m machine) {
		r, g, id := upgraded(t, m, later)
		r.start()
		select {
		case <-r.stopped:
		case <-time.After(patience):
			t.Fatal("the earlier version runs with a journal that it does not know")
		}
		if code := r.cmd.ProcessState.ExitCode(); code == 0 {
			t.Error("the earlier version ended with exit code 0")
		}
		contains(t, r.log.String(), fmt.Sprintf("written by a newer version (journal version %d", journal.Version+2), "start the newer version")
		r.startAs(later)
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		contains(t, log, "01O said before", "01O said after", m.says(7))
	})
}

// TestMuchLaterVersionRefusesTheAgent updates by three minor versions of the wire: the agent is not driven,
// the job's author is told why, and nothing of the job stays behind.
func TestMuchLaterVersionRefusesTheAgent(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "skerry-e2e-later")
	if err == nil {
		err = os.Chmod(dir, 0o755) // other users run it, too
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	later, err := laterProgram(filepath.Join(dir, "later"), 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	everywhere(t, func(t *testing.T, m machine) {
		r, _, id := upgraded(t, m, "")
		r.startAs(later)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "runner_system_failure")
		contains(t, log, "ERROR: Job failed (system failure)", "too old for this runner", "update in smaller steps")
		until(t, "the refused agent and its environment are gone", func() bool { return len(r.environments()) == 0 })
	})
}
