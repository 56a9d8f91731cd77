package gateway_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// viewed runs a command that sees a view as its store.
func viewed(args ...string) []string {
	return append([]string{"sh", "-ec", `mount --bind /mnt/view /nix/store; mount -o remount,bind,ro /nix/store; exec "$@"`, "sh"}, args...)
}

// TestNixView gives a job a view of a machine's store: it sees what it was given, has built, added and named, closures
// whole, and learns of nothing else.
func TestNixView(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		trusting(t, n, "trusted-users = root")
		n.Daemon(t)
		direct, job := nixtest.Direct(), nixtest.Job()
		lib := build(t, n, direct, "lib", "echo lib > $out")
		user := func(name string) string {
			return n.Must(t, direct, "nix-build", "--no-out-link", "-E", `derivation { name = "`+name+`"; system = builtins.currentSystem; builder = "/bin/sh";
				args = [ "-c" "echo ${`+derivation("lib", "echo lib > $out")+`} > $out" ]; }`)
		}
		tool, secret := user("tool"), user("secret")
		dir := filepath.Join(n.Dir, "view")
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // a store's
			t.Fatal(err)
		}
		g, _ := newGateway(t, gateway.Config{
			Listen: n.Listen(), Upstream: n.Socket(), Unprivileged: true, Known: []string{tool + "/bin"}, View: dir, Store: filepath.Join(n.Dir, "nix/store"),
		})
		g.Ready(t.Context())
		must := func(args ...string) string { t.Helper(); return n.Must(t, job, viewed(args...)...) }
		if got := must("cat", tool, lib); got != lib+"\nlib" {
			t.Errorf("of what it was given the job sees %q", got)
		}
		if got := must("ls", "/nix/store"); got != strings.Join(slices.Sorted(slices.Values([]string{filepath.Base(tool), filepath.Base(lib)})), "\n") {
			t.Errorf("at first the job sees %q", got)
		}
		n.WriteFile(t, "source", "source")
		added := must("nix-store", "--add", "/mnt/source")
		out := must("nix-build", "--no-out-link", "-E", derivation("own", "echo own > $out"))
		if got := must("cat", added, out); got != "sourceown" {
			t.Errorf("of its own the job sees %q", got)
		}
		for what, args := range map[string][]string{
			"all":       {"nix", "path-info", "--all"},
			"roots":     {"nix-store", "--gc", "--print-roots"},
			"referrers": {"nix-store", "--query", "--referrers", lib},
			"deriver":   {"nix-store", "--query", "--deriver", tool},
			"info":      {"nix", "path-info", "--json", tool},
			"verify":    {"nix-store", "--verify", "--check-contents", "-vvvvv"},
			"files":     {"ls", "-R", "/nix/store"},
		} {
			stdout, stderr, _ := n.Run(t.Context(), job, viewed(args...)...)
			if said := stdout + stderr; strings.Contains(said, "-secret") || strings.Contains(said, "-tool.drv") {
				t.Errorf("%s tells %s", what, said)
			}
		}
		if got := must("nix-store", "--query", "--referrers", lib); got != tool {
			t.Errorf("the referrers that the job knows are %q", got)
		}
		if got := must("sh", "-ec", "nix-store --check-validity "+secret+"; cat "+secret); got != lib {
			t.Errorf("of a path that it can name the job sees %q", got)
		}
		if _, stderr, err := n.Run(t.Context(), job, viewed("touch", "/nix/store/mine")...); err == nil || !strings.Contains(stderr, "Read-only") {
			t.Error(err, stderr)
		}
		if err := os.RemoveAll(filepath.Join(n.Dir, "nix/store", filepath.Base(added))); err != nil { // it comes from elsewhere
			t.Fatal(err)
		}
		must("cat", added)
	})
}

// TestNixViewFull has nowhere to copy to: the job is told, and what it sees otherwise is not affected.
func TestNixViewFull(t *testing.T) {
	t.Parallel()
	n := nixtest.New(t, "2.26")
	trusting(t, n, "trusted-users = root")
	n.Daemon(t)
	other := t.TempDir() // a store that has nothing
	newGateway(t, gateway.Config{Listen: n.Listen(), Upstream: n.Socket(), Unprivileged: true, View: t.TempDir(), Store: other})
	if _, stderr, err := n.Run(t.Context(), nixtest.Job(), "nix-build", "--no-out-link", "-E", derivation("own", "echo own > $out")); err == nil || !strings.Contains(stderr, "host_store") {
		t.Errorf("%v: %s", err, stderr)
	}
}
