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

// trusting makes the daemon's configuration that of a machine which nobody has changed: root is trusted.
func trusting(t testing.TB, n *nixtest.Nix, users string) {
	t.Helper()
	conf, err := os.ReadFile(filepath.Join(n.Dir, "etc/nix.conf"))
	if err != nil {
		t.Fatal(err)
	}
	n.WriteFile(t, "etc/nix.conf", strings.Replace(string(conf), "trusted-users =", users, 1))
	for _, dir := range []string{n.Dir, filepath.Dir(n.Socket())} {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as on a machine
			t.Fatal(err)
		}
	}
}

// TestNixHost has the gateway at a daemon that trusts root, as root: the daemon does not trust it, and what a job knows
// outlasts its connections and collections by root.
func TestNixHost(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		trusting(t, n, "trusted-users = root")
		n.Daemon(t)
		newGateway(t, gateway.Config{Listen: n.Listen(), Upstream: n.Socket(), Unprivileged: true})
		job := nixtest.Job()
		out := build(t, n, job, "hello", "echo hello > $out")
		other := build(t, n, nixtest.Direct(), "other", "echo other > $out")
		n.Must(t, nixtest.Direct(), "nix", "copy", "--to", "file:///mnt/cache", other)
		n.Must(t, nixtest.Direct(), "nix-store", "--gc")
		if !there(n, out) || there(n, other) {
			t.Errorf("after a collection: the job's path %t, another %t", there(n, out), there(n, other))
		}
		for what, c := range map[string]struct {
			args []string
			want string
		}{
			"import":  {[]string{"nix", "copy", "--no-check-sigs", "--from", "file:///mnt/cache", other}, "signature"},
			"collect": {[]string{"nix-store", "--gc"}, "Skerry"},
			"delete":  {[]string{"nix-store", "--delete", out}, "Skerry"},
			"repair":  {[]string{"nix-store", "--verify", "--repair"}, "Skerry"},
			"sandbox": {[]string{"nix-build", "--no-out-link", "--option", "sandbox", "false", "-E", derivation("loose", "echo x > $out")}, "no effect"},
		} {
			if _, stderr, _ := n.Run(t.Context(), job, c.args...); !strings.Contains(stderr, c.want) {
				t.Errorf("%s: said %s", what, stderr)
			}
		}
		if there(n, other) || !there(n, out) {
			t.Error("a job has changed the store")
		}
		if n.Version != "2.8" {
			if said := n.Must(t, job, "nix", "store", "info", "--json"); !trusts(said, "0", "false") {
				t.Error(said)
			}
			if said := n.Must(t, nixtest.Direct(), "nix", "store", "info", "--json"); !trusts(said, "1", "true") {
				t.Error("the daemon does not trust root: ", said)
			}
		}
		n.Must(t, nixtest.Direct(), "nix-store", "--verify", "--check-contents")
	})
}

// TestNixKnown has a job know of a path from the beginning: it is held before any client has come.
func TestNixKnown(t *testing.T) {
	t.Parallel()
	n := nixtest.New(t, "2.26")
	trusting(t, n, "trusted-users = root")
	n.Daemon(t)
	out := build(t, n, nixtest.Direct(), "known", "mkdir $out")
	g, _ := newGateway(t, gateway.Config{Listen: n.Listen(), Upstream: n.Socket(), Unprivileged: true, Known: []string{out + "/bin", "", "/etc"}})
	eventually(t, "the path is held", func() bool { return len(g.Held()) == 1 && g.Held()[0] == out })
	n.Must(t, nixtest.Direct(), "nix-store", "--gc")
	if !there(n, out) {
		t.Error("it was collected")
	}
}

// TestNixHostTrusted is told by the daemon that it trusts nobody and everybody: no job is served, and is told whom to
// leave out.
func TestNixHostTrusted(t *testing.T) {
	t.Parallel()
	n := nixtest.New(t, "2.26")
	trusting(t, n, "trusted-users = root nobody")
	n.Daemon(t)
	newGateway(t, gateway.Config{Listen: n.Listen(), Upstream: n.Socket(), Unprivileged: true})
	_, stderr, err := n.Run(t.Context(), nixtest.Job(), "nix-store", "--query", "--hash", "/nix/store/00000000000000000000000000000000-x")
	if err == nil || !strings.Contains(stderr, "65534") || !strings.Contains(stderr, "trusted-users") {
		t.Error(err, stderr)
	}
}

// TestNixHostRestart restarts the daemon: what a job was told of is held again before it hears anything more.
func TestNixHostRestart(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		trusting(t, n, "trusted-users = root")
		stop := n.Daemon(t)
		g, _ := newGateway(t, gateway.Config{Listen: n.Listen(), Upstream: n.Socket(), Unprivileged: true})
		out := build(t, n, nixtest.Job(), "hello", "echo hello > $out")
		stop()
		n.Daemon(t)
		more := build(t, n, nixtest.Job(), "more", "echo more > $out")
		n.Must(t, nixtest.Direct(), "nix-store", "--gc")
		if !there(n, out) || !there(n, more) || len(g.Held()) == 0 {
			t.Error("a path of the job was collected after the daemon's restart")
		}
	})
}

// trusts reports whether what a store says of itself has one of the values, which differ between versions of Nix.
func trusts(said string, values ...string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.Contains(said, `"trusted":`+v) })
}
