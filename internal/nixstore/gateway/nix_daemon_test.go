package gateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// TestNixMixed has clients of one version work with a daemon of another.
func TestNixMixed(t *testing.T) {
	t.Parallel()
	for daemon, client := range map[string]string{"2.8": "2.26", "2.26": "2.8"} {
		t.Run(client+" with a daemon of "+daemon, func(t *testing.T) {
			t.Parallel()
			n := nixtest.New(t, daemon)
			n.Daemon(t)
			g := nixGateway(t, n)
			c, job := n.With(t, client), nixtest.Job()
			out := build(t, c, job, "hello", "echo hello > $out")
			if again := build(t, c, job, "hello", "echo hello > $out"); again != out {
				t.Error(again)
			}
			n.WriteFile(t, "file", "text")
			added := c.Must(t, job, "nix-store", "--add", "/mnt/file")
			c.Must(t, job, "nix", "path-info", "--json", out, added)
			c.Must(t, job, "nix", "copy", "--to", "file:///mnt/cache", out)
			c.Must(t, job, "nix-store", "--export", out)
			if _, stderr, err := c.Run(t.Context(), job, "nix-store", "--gc"); err == nil || !strings.Contains(stderr, "Skerry itself collects") {
				t.Error(err, stderr)
			}
			if u := g.Usage(); u.Built.Paths != 1 || u.Added.Paths != 1 {
				t.Errorf("%+v", u)
			}
		})
	}
}

// TestNixTrusted has a daemon trust everybody. One that says so gets no clients; one that cannot is kept from what it
// would do.
func TestNixTrusted(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		conf, err := os.ReadFile(filepath.Join(n.Dir, "etc/nix.conf"))
		if err != nil {
			t.Fatal(err)
		}
		n.WriteFile(t, "etc/nix.conf", strings.Replace(string(conf), "trusted-users =", "trusted-users = root *", 1))
		n.Daemon(t)
		nixGateway(t, n)
		unsigned := build(t, n, nixtest.Direct(), "other", "echo other > $out")
		n.Must(t, nixtest.Direct(), "nix", "copy", "--to", "file:///mnt/cache", unsigned)
		n.Must(t, nixtest.Direct(), "nix-store", "--delete", unsigned)
		_, stderr, err := n.Run(t.Context(), nixtest.Job(), "nix", "copy", "--no-check-sigs", "--from", "file:///mnt/cache", unsigned)
		want := "trusted-users"
		if n.Version == "2.8" {
			want = "signature"
		}
		if err == nil || !strings.Contains(stderr, want) || there(n, unsigned) {
			t.Error(err, stderr)
		}
		if n.Version != "2.8" { // an older client, to which the daemon does not say it
			_, stderr, err := n.With(t, "2.8").Run(t.Context(), nixtest.Job(), "nix-store", "--query", "--hash", unsigned)
			if err == nil || !strings.Contains(stderr, "trusted-users") {
				t.Error("an older client:", err, stderr)
			}
		}
	})
}

// TestNixRestart kills the daemon in the middle of a build and starts it again: the client's build goes on.
func TestNixRestart(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		stop := n.Daemon(t)
		nixGateway(t, n)
		done := make(chan string, 1)
		go func() {
			out, stderr, err := n.Run(t.Context(), nixtest.Job(), "nix-build", "--no-out-link", "-E", derivation("slow", "echo run >> /mnt/runs; [ $(wc -l < /mnt/runs) -gt 1 ] || sleep 1000; echo x > $out"))
			if err != nil {
				t.Error(err, stderr)
			}
			if !strings.Contains(stderr, "the Nix daemon was restarted") {
				t.Errorf("said: %s", stderr)
			}
			done <- out
		}()
		runs := func() string {
			b, _ := os.ReadFile(filepath.Join(n.Dir, "runs"))
			return string(b)
		}
		eventually(t, "the builder", func() bool { return runs() != "" })
		stop()
		n.Daemon(t)
		if out := <-done; !there(n, out) || runs() != "run\nrun\n" {
			t.Errorf("%s, %q", out, runs())
		}
		n.Must(t, nixtest.Direct(), "nix-store", "--verify", "--check-contents")
	})
}
