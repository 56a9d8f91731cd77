package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
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
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.before = len(r.log.String())
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

// numberIn reads a number that a job's script has written, once it is whole.
func numberIn(t *testing.T, path string) int {
	t.Helper()
	var n int
	until(t, "a number in "+path, func() bool {
		b, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(string(b), "\n") {
			return false
		}
		_, err = fmt.Sscan(string(b), &n)
		return err == nil
	})
	return n
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
