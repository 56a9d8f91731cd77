package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// podman is a user of rootless Podman with a home of its own, and so an engine of its own.
type podman struct {
	t   *testing.T
	m   machine
	dir string // home and the working directory of its commands
	env []string
}

// newPodman gives the engine's user a home for a test. All that is in it goes with the test.
func newPodman(t *testing.T, m machine) *podman {
	t.Helper()
	dir, err := os.MkdirTemp(m.user.HomeDir, "e2e")
	if err != nil {
		t.Fatal(err)
	}
	p := &podman{t: t, m: m, dir: dir, env: []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir + "/run"}}
	for _, d := range []string{"", "run", ".config", ".config/containers"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
		m.own(t, filepath.Join(dir, d))
	}
	for _, f := range []string{"storage.conf", "containers.conf"} { // as this machine needs them
		p.write(filepath.Join(".config/containers", f), readFile(t, filepath.Join(m.user.HomeDir, ".config/containers", f)))
	}
	t.Cleanup(func() {
		_, _ = p.try(nil, "rm", "-fa", "-t", "0")
		_, _ = p.try(nil, "system", "migrate")                                        // ends the process that holds its user namespace
		until(t, "the home is gone", func() bool { return os.RemoveAll(dir) == nil }) // processes of Podman clean up, too
	})
	return p
}

func (p *podman) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.m.own(p.t, path)
}

// as is a command of the user's.
func (p *podman) as(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	p.m.as(p.t, cmd, p.env)
	cmd.Dir = p.dir
	return cmd
}

// try runs a command of Podman.
func (p *podman) try(in io.Reader, args ...string) (string, error) {
	cmd := p.as("podman", args...)
	var out, says bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &says
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("podman %s: %w: %s%s", strings.Join(args, " "), err, out.String(), says.String())
	}
	return out.String(), nil
}

// run is try for what has to work. in may be empty.
func (p *podman) run(in string, args ...string) string {
	p.t.Helper()
	out, err := p.try(strings.NewReader(in), args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}
