package collect

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// TestQueueOfAFullDisk has no room for a second root in the queue: what is in it is pushed all the same, which makes room, and the
// job whose roots are not in it keeps its own until then.
func TestQueueOfAFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can make a file system that is full")
	}
	n := nixtest.New(t, "2.26")
	n.Daemon(t)
	l := volumes.Layout{Root: n.Dir}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(n.Dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "bin/busybox"), box, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	n.WriteFile(t, "d.nix", `let make = name: derivation {
  inherit name; system = builtins.currentSystem; args = [ "sh" "-c" "echo > $out" ]; builder = "${./bin}/busybox";
}; in { a = make "a"; b = make "b"; }`)
	long := time.Now().Add(-time.Hour)
	built := map[string]string{}
	for _, job := range []string{"a", "b"} {
		built[job] = n.Must(t, nixtest.Direct(), "nix-build", "--no-out-link", "-A", job, "/mnt/d.nix")
		dir := filepath.Join(l.Jobs(), job)
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // of a test
			t.Fatal(err)
		}
		if err := volumes.Root(dir, filepath.Base(built[job])); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(l.Pushes(), 0o755); err != nil { //nolint:gosec // of a test
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", l.Pushes(), "tmpfs", 0, "nr_inodes=3"); err != nil {
		t.Fatal("no file system can be made here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(l.Pushes(), 0); err != nil {
			t.Error(err)
		}
	})
	for _, o := range []struct {
		over Over
		want string
	}{{Over{Jobs: []string{"a", "b"}, Live: []string{"a", "b"}, AsOf: time.Now()}, "a"}, {Over{AsOf: time.Now()}, "b"}} {
		p, err := Queue(t.Context(), l, o.over)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{built[o.want]}, p.Queue); diff != "" {
			t.Errorf("%s: %s", o.want, diff)
		}
		if _, err := os.Stat(filepath.Join(l.Jobs(), "b")); (err == nil) != (o.want == "a") {
			t.Errorf("after %s: the roots of b: %v", o.want, err)
		}
		if _, err := Pushed(l, p.Queue); err != nil {
			t.Fatal(err)
		}
	}
}
