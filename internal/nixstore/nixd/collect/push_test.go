package collect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// TestQueue has what ended jobs have built in a real store put into the queue, and nothing else that they know.
func TestQueue(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.Daemon(t)
		l := volumes.Layout{Root: n.Dir}
		box, err := os.ReadFile("/bin/busybox")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(n.Dir, "busybox"), box, 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		n.WriteFile(t, "d.nix", `let make = name: text: derivation {
  inherit name; system = builtins.currentSystem; args = [ "sh" "-c" text ];
  builder = "${builtins.filterSource (_: _: true) ./bin}/busybox";
}; in { low = make "low" "echo low > $out"; top = make "top" "echo ${make "low" "echo low > $out"} > $out"; other = make "other" "echo > $out"; }`)
		if err := os.MkdirAll(filepath.Join(n.Dir, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(n.Dir, "busybox"), filepath.Join(n.Dir, "bin", "busybox")); err != nil {
			t.Fatal(err)
		}
		make := func(attr string) string {
			return n.Must(t, nixtest.Direct(), "nix-build", "--no-out-link", "-A", attr, "/mnt/d.nix")
		}
		top, low, other := make("top"), make("low"), make("other")
		drv := n.Must(t, nixtest.Direct(), "nix-instantiate", "-A", "top", "/mnt/d.nix")
		source := n.Must(t, nixtest.Direct(), "nix-store", "--add", "/mnt/d.nix")
		knows := func(job string, paths ...string) {
			for _, p := range paths {
				at := filepath.Join(l.Jobs(), job, filepath.Base(p))
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		knows("over", top, drv, source)
		knows("live", other)
		knows("lost", other)
		long := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(l.Jobs(), "live"), long, long); err != nil {
			t.Fatal(err)
		}
		queued := func(o Over) (queue, paths []string) {
			t.Helper()
			p, err := Queue(t.Context(), l, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range p.Paths {
				paths = append(paths, i.Path)
			}
			return p.Queue, paths
		}
		queue, paths := queued(Over{Jobs: []string{"over", "gone"}, Live: []string{"live"}, AsOf: time.Now()})
		want := []string{top, other} // of the job that has vanished just now, too
		slices.Sort(want)
		if diff := cmp.Diff(want, queue); diff != "" {
			t.Error(diff)
		}
		if i := slices.Index(paths, low); len(paths) != 3 || i < 0 || i > slices.Index(paths, top) {
			t.Errorf("what is to be pushed, in this order: %q", paths)
		}
		jobs, err := os.ReadDir(l.Jobs())
		if err != nil || len(jobs) != 2 {
			t.Errorf("the roots are of %v, %v", jobs, err)
		}
		if err := os.Chtimes(filepath.Join(l.Jobs(), "lost"), long, long); err != nil {
			t.Fatal(err)
		}
		if queue, _ := queued(Over{Live: []string{"live"}, AsOf: time.Now()}); len(queue) != 2 {
			t.Errorf("in the queue are %q", queue)
		}
		if jobs, err = os.ReadDir(l.Jobs()); err != nil || len(jobs) != 1 {
			t.Errorf("the roots are of %v, %v", jobs, err)
		}
		h, err := findHolders(l)
		if err != nil || strings.Join(h[filepath.Base(top)], " ") == "" || !strings.Contains(strings.Join(h[filepath.Base(top)], " "), "push:queue") {
			t.Errorf("what is in the queue is held by %q, %v", h[filepath.Base(top)], err)
		}
		n.Must(t, []string{"NIX_CONF_DIR=/mnt/etc"}, "nix-store", "--gc") // Nix's own collection
		n.Must(t, nixtest.Direct(), "nix-store", "--check-validity", top, low, other)
		if err := dropQueue(l, Order{AsOf: time.Now(), Push: true}); err != nil {
			t.Error(err)
		}
		if done, err := Pushed(l, []string{top, other, low}); done != 2 || err != nil {
			t.Error(done, err)
		}
		if queue, paths := queued(Over{}); len(queue)+len(paths) > 0 {
			t.Errorf("%q %q are left", queue, paths)
		}
		knows("again", top)
		if queue, _ := queued(Over{Jobs: []string{"again"}}); len(queue) != 1 {
			t.Errorf("%q", queue)
		}
		if err := dropQueue(l, Order{AsOf: time.Now()}); err != nil {
			t.Error(err)
		}
		if queue, _ := queued(Over{}); len(queue) > 0 {
			t.Errorf("%q is still to be pushed, by nobody", queue)
		}
		if _, err := Pushed(l, []string{"/etc/passwd"}); err == nil {
			t.Error("what is no store path was taken out")
		}
	})
}
