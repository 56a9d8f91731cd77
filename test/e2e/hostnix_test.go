package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// TestShellNix has jobs of the shell executor use the machine's Nix. The runner is killed meanwhile, and the machine
// collects: a job keeps its path until it ends.
func TestShellNix(t *testing.T) {
	t.Parallel()
	n := nixtest.New(t, "2.26")
	for _, d := range []string{n.Dir, filepath.Dir(n.Socket())} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // as on a machine
			t.Fatal(err)
		}
	}
	n.Daemon(t)
	inside := n.Inside(t)
	r := newRunner(t, gitlabtest.Start(t, gitlabtest.Options{}), fmt.Sprintf("nix = { store = \"host\", host_socket = %q }", n.Socket()))
	r.start()
	g := newGate(t)
	script := []string{
		"path=$(" + inside + ` nix-build --no-out-link -E 'derivation { name = "e2e"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" "echo of the machine > $out"]; }')`,
		inside + " nix-store --gc || echo not for jobs",
	}
	script = append(append(script, g.lines()...), inside+" cat $path", "echo $path > "+n.Dir+"/path")
	id := r.add(gitlabtest.JobSpec{Script: script})
	g.await(t)
	r.restart()
	n.Must(t, nixtest.Direct(), "nix-store", "--gc")
	g.open(t)
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusSuccess, "")
	contains(t, log, "O of the machine", "O not for jobs", "Skerry itself collects", "Nix: 1 built", "1 request refused")
	path, err := os.ReadFile(filepath.Join(n.Dir, "path"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the path can be collected after the job", func() bool {
		n.Must(t, nixtest.Direct(), "nix-store", "--gc")
		return !exists(filepath.Join(n.Dir, strings.TrimSpace(string(path))))
	})
}
