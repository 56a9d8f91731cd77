package nixjob_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixjob"
)

func TestEnviron(t *testing.T) {
	t.Parallel()
	bare, certified := t.TempDir(), t.TempDir()
	write(t, filepath.Join(certified, "etc/ssl/certs/ca-certificates.crt"), "x")
	full := nixjob.Config{Remote: "daemon", Tools: "/nix/store/t/bin", Certs: "/nix/store/c/ca.crt"}
	led := full
	led.Path = true
	for name, test := range map[string]struct {
		c       nixjob.Config
		root    string
		environ []string
		want    []string
	}{
		"bare":         {full, bare, nil, []string{"NIX_REMOTE=daemon", "NIX_SSL_CERT_FILE=/nix/store/c/ca.crt"}},
		"certificates": {full, certified, nil, []string{"NIX_REMOTE=daemon"}},
		"told":         {full, bare, []string{"NIX_REMOTE=local", "SSL_CERT_FILE=/mine"}, nil},
		"path":         {led, certified, []string{"PATH=/bin", "NIX_REMOTE="}, []string{"PATH=/nix/store/t/bin:/bin"}},
		"no path": {led, certified, []string{"NIX_REMOTE="}, []string{
			"PATH=/nix/store/t/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		}},
		"machine": {nixjob.Config{Remote: "unix:///s", Socket: "/s", Machine: true}, bare, []string{"NIX_REMOTE=daemon", "NIX_DAEMON_SOCKET_PATH=/other"}, []string{
			"NIX_REMOTE=unix:///s", "NIX_DAEMON_SOCKET_PATH=/s",
		}},
		"nothing": {nixjob.Config{Path: true}, bare, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.c.Environ(test.root, test.environ)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	const mine = "sandbox = true\n"
	for name, test := range map[string]struct {
		make func(t *testing.T, root string)
		want string // of nix.conf
	}{
		"bare":     {func(*testing.T, string) {}, "# Made by Skerry for this job; yours to change.\nexperimental-features = nix-command flakes\n"},
		"a file":   {func(t *testing.T, root string) { t.Helper(); write(t, filepath.Join(root, "etc/nix/nix.conf"), mine) }, mine},
		"a link":   {func(t *testing.T, root string) { t.Helper(); link(t, root, mine) }, mine},
		"dangling": {func(t *testing.T, root string) { t.Helper(); link(t, root, "") }, "# Made by Skerry for this job; yours to change.\nexperimental-features = nix-command flakes\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			test.make(t, root)
			for range 2 {
				if err := (nixjob.Config{}).Prepare(root); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(root, "etc/nix/nix.conf")
			i, err := os.Lstat(path)
			if err != nil || !i.Mode().IsRegular() || i.Mode().Perm() != 0o644 {
				t.Errorf("nix.conf: %v, %v", i, err)
			}
			if got, _ := os.ReadFile(path); string(got) != test.want {
				t.Errorf("nix.conf says %q, want %q", got, test.want)
			}
			if i, err := os.Stat(filepath.Join(root, "nix/var/nix/profiles/per-user")); err != nil || i.Mode().Perm() != 0o777 || i.Mode()&os.ModeSticky == 0 {
				t.Errorf("the profiles' directory: %v, %v", i, err)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// link makes nix.conf a link to a file with text, or to nothing.
func link(t *testing.T, root, text string) {
	t.Helper()
	target := filepath.Join(root, "store", "nix.conf")
	if text != "" {
		write(t, target, text)
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/nix"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(root, "etc/nix/nix.conf")); err != nil {
		t.Fatal(err)
	}
}

// TestPrepareMachine leaves the machine itself alone.
func TestPrepareMachine(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := (nixjob.Config{Remote: "unix:///s", Machine: true}).Prepare(root); err != nil {
		t.Fatal(err)
	}
	if made, err := os.ReadDir(root); err != nil || len(made) > 0 {
		t.Error(made, err)
	}
}
