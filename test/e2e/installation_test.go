package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/procstat"
)

// startAs starts the runner's process as start does, with another build of the program (empty: that of
// all tests) or by way of another command, which gets the runner's command line as its arguments.
func (r *runner) startAs(path string, wrapper ...string) {
	r.t.Helper()
	if path == "" {
		var err error
		if path, err = program(); err != nil {
			r.t.Fatal(err)
		}
	}
	args := append(wrapper, path, "run", "--working-directory", r.dir, "--config", r.config())
	cmd := exec.Command(args[0], args[1:]...)
	r.m.as(r.t, cmd, r.env)
	cmd.Stderr = r.log
	cmd.Stdout = r.log
	r.before = len(r.log.String()) // what it says now is not said before
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	stopped := make(chan struct{})
	r.mu.Lock()
	r.cmd, r.stopped = cmd, stopped
	r.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(stopped)
	}()
}

func (r *runner) config() string { return filepath.Join(r.dir, "config.toml") }

// editConfig replaces text in the configuration, by rename as editors and provisioners do.
func (r *runner) editConfig(old, replacement string) {
	r.t.Helper()
	b, err := os.ReadFile(r.config())
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		r.t.Fatalf("the configuration has no %q:\n%s", old, b)
	}
	if err := os.WriteFile(r.config()+".new", []byte(strings.Replace(string(b), old, replacement, 1)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.m.own(r.t, r.config()+".new")
	if err := os.Rename(r.config()+".new", r.config()); err != nil {
		r.t.Fatal(err)
	}
}

// awaitLog waits until the runner's own log has the text.
func (r *runner) awaitLog(text string) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("the runner says %q", text), func() bool { return strings.Contains(r.log.String(), text) })
}

// command runs another command of the program with the runner's configuration and returns what it says.
func (r *runner) command(args ...string) (string, error) {
	r.t.Helper()
	path, err := program()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.CommandContext(r.t.Context(), path, append(args, "--config", r.config())...)
	r.m.as(r.t, cmd, r.env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// withProject starts a coordinator that has the project group/project.
func withProject(t *testing.T, o gitlabtest.Options) *gitlabtest.Coordinator {
	t.Helper()
	co := gitlabtest.Start(t, o)
	if _, err := co.AddProject(t.Context(), "group/project", repository(t)); err != nil {
		t.Fatal(err)
	}
	return co
}

// exists reports whether there is something at path, be it a broken link.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// ended reports whether a process is gone or only waits for its parent.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// written is a script's word that writes down the process whose number is in the shell's variable: for running.
func written(pid string) string { return pid + " $(cut -d ' ' -f 22 /proc/" + pid + "/stat)" }

// running reports whether the process runs that a job's script has written to a file. A number alone would not do: a
// busy machine gives all of them within a minute.
func running(t *testing.T, path string) bool {
	t.Helper()
	var pid int
	var start uint64
	until(t, "a process in "+path, func() bool {
		b, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(string(b), "\n") {
			return false
		}
		_, err = fmt.Sscan(string(b), &pid, &start)
		return err == nil
	})
	s, err := procstat.Read(pid)
	return err == nil && s.Start == start && !s.Ended()
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
