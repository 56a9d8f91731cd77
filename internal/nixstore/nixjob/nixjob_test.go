package nixjob_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
		"profile": {led, certified, []string{"PATH=/bin", "NIX_REMOTE=", "HOME=/home/job"}, []string{"PATH=/nix/store/t/bin:/home/job/.nix-profile/bin:/bin"}},
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

// TestHome gives users a home where they have none, and leaves alone what they have.
func TestHome(t *testing.T) {
	t.Parallel()
	const passwd = "root:x:0:0:root:/root:/bin/sh\njob:x:1000:100::/home/job:/bin/sh\nbroken\n../../up:x:1001:1001::/:/bin/sh\n"
	for name, test := range map[string]struct {
		environ []string
		uid     int
		want    []string // "HOME" is one that was made
	}{
		"has all":           {[]string{"HOME=/home/job"}, 1000, nil},
		"no name":           {[]string{"HOME=/home/job"}, 1234, []string{"USER=uid-1234"}},
		"a name by itself":  {[]string{"HOME=/home/job", "USER=me"}, 1234, nil},
		"no home":           {[]string{"USER=me"}, 1234, []string{"HOME"}},
		"missing":           {[]string{"HOME=/home/none"}, 1000, []string{"HOME"}},
		"a file":            {[]string{"HOME=/etc/passwd"}, 1000, []string{"HOME"}},
		"the last one":      {[]string{"HOME=/none", "HOME=/home/job"}, 1000, nil},
		"neither, and root": {nil, 0, []string{"HOME"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			write(t, filepath.Join(root, "etc/passwd"), passwd)
			for _, dir := range []string{"home/job", "tmp"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			more, err := (nixjob.Config{}).Home(root, test.environ, test.uid)
			if err != nil {
				t.Fatal(err)
			}
			home := "/home/job"
			for i, m := range more {
				if made, ok := strings.CutPrefix(m, "HOME=/tmp/home-"); ok && made != "" {
					home, more[i] = strings.TrimPrefix(m, "HOME="), "HOME"
				}
			}
			if diff := cmp.Diff(test.want, more); diff != "" {
				t.Error(diff)
			}
			link, err := os.Readlink(filepath.Join(root, home, ".nix-profile"))
			if want := home + "/.local/state/nix/profiles/profile"; test.uid != 0 && (err != nil || link != want) {
				t.Errorf("the profile is %q, want %q", link, want)
			}
			if _, err := os.Stat(filepath.Join(root, home, ".config/nix/nix.conf")); (err == nil) != (test.uid != 0) {
				t.Error("nix.conf: ", err)
			}
		})
	}
}

// TestHomeNowhere cannot give a home, or has not to.
func TestHomeNowhere(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/nix/nix.conf"), "")
	write(t, filepath.Join(root, "home"), "not a directory, so that root cannot write there either")
	if _, err := (nixjob.Config{}).Home(root, []string{"HOME=/home"}, 1000); err == nil || !strings.Contains(err.Error(), "/home") {
		t.Error("without a place for another: ", err)
	}
	if more, err := (nixjob.Config{Machine: true}).Home(root, nil, 1000); err != nil || more != nil {
		t.Error("on the machine itself: ", more, err)
	}
}

// TestPrepareUsers makes the directories of people whom a job may become, and of nobody else.
func TestPrepareUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give directories away")
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\njob:x:1000:100::/:/bin/sh\n../up:x:1001:1001::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
	for range 2 {
		if err := (nixjob.Config{}).Prepare(root); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"profiles", "gcroots"} {
		dir := filepath.Join(root, "nix/var/nix", kind, "per-user")
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatal(entries, err)
		}
		i, err := os.Stat(filepath.Join(dir, "job"))
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := i.Sys().(*syscall.Stat_t); !ok || st.Uid != 1000 || st.Gid != 100 {
			t.Errorf("%s: %+v", kind, i.Sys())
		}
	}
}
