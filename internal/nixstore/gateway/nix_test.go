package gateway_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixtest"
)

// nixGateway is a gateway to a real daemon, for the job's clients.
func nixGateway(t testing.TB, n *nixtest.Nix) *gateway.Gateway {
	t.Helper()
	g, _ := newGateway(t, gateway.Config{Listen: n.Listen(), Upstream: n.Socket(), Roots: n.Gate(), Job: "job"})
	return g
}

// derivation is an expression; its builder runs script.
func derivation(name, script string) string {
	return fmt.Sprintf(`derivation { name = "%s"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" "PATH=/usr/bin:/bin; %s"]; }`, name, script)
}

func build(t testing.TB, n *nixtest.Nix, env []string, name, script string, flags ...string) string {
	t.Helper()
	return n.Must(t, env, append([]string{"nix-build", "--no-out-link", "-E", derivation(name, script)}, flags...)...)
}

// there reports whether a store path is on disk.
func there(n *nixtest.Nix, path string) bool {
	_, err := os.Lstat(filepath.Join(n.Dir, path))
	return err == nil
}

// TestNixWork does with real Nix what jobs do.
func TestNixWork(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.Daemon(t)
		g := nixGateway(t, n)
		job := nixtest.Job()
		out := build(t, n, job, "hello", "echo hello > $out")
		if got := n.Must(t, job, "cat", out); got != "hello" {
			t.Error("built:", got)
		}
		if again := build(t, n, job, "hello", "echo hello > $out"); again != out {
			t.Error("built again:", again)
		}
		build(t, n, job, "hello", "echo hello > $out", "--check")
		if err := os.MkdirAll(filepath.Join(n.Dir, "tree/sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		n.WriteFile(t, "tree/file", strings.Repeat("0123456789", 100_000))
		n.WriteFile(t, "tree/sub/other", "x")
		added := n.Must(t, job, "nix-store", "--add", "/mnt/tree")
		flat := n.Must(t, job, "nix-store", "--add-fixed", "sha256", "/mnt/tree/file")
		n.Must(t, job, "cmp", "/mnt/tree/file", added+"/file")
		n.Must(t, job, "cmp", "/mnt/tree/file", flat)
		n.Must(t, job, "nix-store", "--verify-path", added, flat, out)
		n.Must(t, job, "nix", "copy", "--to", "file:///mnt/cache", added)
		n.Must(t, job, "nix", "copy", "--no-check-sigs", "--from", "file:///mnt/cache", added)
		n.Must(t, job, "sh", "-c", "nix-store --dump "+added+" | nix-store --restore /mnt/restored && diff -r /mnt/tree /mnt/restored")
		n.Must(t, job, "nix-store", "--query", "--referrers-closure", added)
		n.Must(t, job, "nix", "path-info", "--json", "--closure-size", out)
		n.Must(t, job, "nix", "store", "ping")
		if u := g.Usage(); u.Built.Paths != 1 || u.Built.Bytes == 0 || u.Added.Paths < 2 || u.Added.Bytes < 2_000_000 || len(u.Refused) != 0 {
			t.Errorf("%+v", u)
		}
		n.Must(t, job, "nix-build", "-o", "/mnt/result", "-E", derivation("linked", "echo x > $out"))
		n.Must(t, job, "nix-store", "--add-root", "/mnt/root", "--realise", out)
		n.WriteFile(t, "tree/flake.nix", `{ outputs = { self }: rec { packages.x86_64-linux.default = derivation {
			name = "flake"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${self} > $out" ]; };
			packages.aarch64-linux.default = packages.x86_64-linux.default; }; }`)
		n.Must(t, job, "nix", "build", "--no-write-lock-file", "--out-link", "/mnt/flake", "path:/mnt/tree")
		n.Must(t, job, "nix", "eval", "--impure", "--expr", "builtins.readFile (import (builtins.toFile \"d.nix\" ''"+derivation("imported", "echo 1 > $out")+"'')).outPath")
		held := g.Held()
		for _, p := range []string{out, added, flat} {
			if !slices.Contains(held, p) {
				t.Errorf("%s is not held", p)
			}
			if _, err := os.Lstat(filepath.Join(n.Gate(), "jobs/job", filepath.Base(p))); err != nil {
				t.Error(err)
			}
		}
		if u := g.Usage(); u.Built.Paths < 3 || len(u.Refused) != 0 {
			t.Errorf("%+v", u)
		}
	})
}

// TestNixRefusals tries with real Nix what is refused.
func TestNixRefusals(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.Daemon(t)
		g := nixGateway(t, n)
		job := nixtest.Job()
		out := build(t, n, job, "hello", "echo hello > $out")
		unsigned := strings.ReplaceAll(build(t, n, nixtest.Direct(), "other", "echo other > $out"), "\n", "")
		n.Must(t, nixtest.Direct(), "nix", "copy", "--to", "file:///mnt/cache", unsigned)
		n.Must(t, nixtest.Direct(), "nix-store", "--delete", unsigned)
		for name, c := range map[string]struct {
			args []string
			want string
		}{
			"collect":        {[]string{"nix-store", "--gc"}, "Skerry itself collects"},
			"collect all":    {[]string{"nix-collect-garbage", "-d"}, "Skerry itself collects"},
			"delete":         {[]string{"nix-store", "--delete", out}, "shared with other jobs"},
			"delete anyway":  {[]string{"nix-store", "--delete", "--ignore-liveness", out}, "shared with other jobs"},
			"optimise":       {[]string{"nix-store", "--optimise"}, "shared with other jobs"},
			"repair path":    {[]string{"nix-store", "--repair-path", out}, ""},
			"repair build":   {[]string{"nix-build", "--no-out-link", "--repair", "-E", derivation("hello", "echo hello > $out")}, "repair"},
			"verify, repair": {[]string{"nix-store", "--verify", "--check-contents", "--repair"}, "repair"},
			"unsigned":       {[]string{"nix", "copy", "--no-check-sigs", "--from", "file:///mnt/cache", unsigned}, "signature"},
			"export":         {[]string{"sh", "-ec", "nix-store --export " + out + " > /mnt/x; sed -i s/hello/jello/g /mnt/x; nix-store --import < /mnt/x"}, ""},
		} {
			_, stderr, err := n.Run(t.Context(), job, c.args...)
			if err == nil || !strings.Contains(stderr, c.want) {
				t.Errorf("%s: %v: %s", name, err, stderr)
			}
		}
		if !there(n, out) || there(n, unsigned) {
			t.Error("what was refused has happened")
		}
		_, stderr, err := n.Run(t.Context(), job, "nix-build", "--no-out-link", "-E", derivation("hello", "echo hello > $out"),
			"--option", "sandbox", "true", "--option", "trusted-public-keys", "x:AAAA", "--option", "post-build-hook", "/bin/false")
		if err != nil || strings.Count(stderr, "has no effect here") != 3 {
			t.Errorf("%v: %s", err, stderr)
		}
		if u := g.Usage(); u.Refused["CollectGarbage"] < 3 || u.Refused["OptimiseStore"] != 1 {
			t.Errorf("%+v", u)
		}
	})
}

// TestNixKilledClient kills a client in the middle of a build: its builder ends.
func TestNixKilledClient(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.Daemon(t)
		nixGateway(t, n)
		long := fmt.Sprint(100000 + int(crc32.ChecksumIEEE([]byte(n.Dir))%1000000)) // seconds, by which the builder is known
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cmd := n.Command(ctx, nixtest.Job(), "nix-build", "--no-out-link", "-E", derivation("slow", "echo $$ > /mnt/builder; exec sleep "+long))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := filepath.Join(n.Dir, "builder")
		eventually(t, "the builder", func() bool {
			b, _ := os.ReadFile(pid)
			return len(b) > 0
		})
		eventually(t, "its sleep", func() bool { return sleepers(long) == 1 })
		cancel()
		_ = cmd.Wait() // killed
		eventually(t, "the end of the builder", func() bool { return sleepers(long) == 0 })
	})
}

// sleepers counts processes that sleep for so long.
func sleepers(long string) (n int) {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range list {
		if b, _ := os.ReadFile(f); string(b) == "sleep\x00"+long+"\x00" {
			n++
		}
	}
	return n
}

// TestNixBuildsOnce has many clients want the same: one build is made.
func TestNixBuildsOnce(t *testing.T) {
	t.Parallel()
	nixtest.Each(t, func(t *testing.T, n *nixtest.Nix) {
		n.Daemon(t)
		g := nixGateway(t, n)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, stderr, err := n.Run(t.Context(), nixtest.Job(), "nix-build", "--no-out-link", "-E", derivation("once", "echo built >> /mnt/count; sleep 1; echo x > $out")); err != nil {
					t.Error(err, stderr)
				}
			})
		}
		all.Wait()
		b, err := os.ReadFile(filepath.Join(n.Dir, "count"))
		if err != nil || string(b) != "built\n" {
			t.Errorf("%q, %v", b, err)
		}
		if u := g.Usage(); u.Built.Paths != 1 {
			t.Errorf("%+v", u)
		}
	})
}
