package image_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/image"
)

func TestRunnerRanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		idMap, lines string
		missing      int
		fails        string
	}{
		"as many as wanted":   {"         0       1003          1\n         1     100000      65539\n", "podman:1:999\npodman:1002:64536\n", 0, ""},
		"just enough":         {"0 1003 1\n1 100000 65537\n", "podman:1:999\npodman:1002:64536\n", 0, ""},
		"as users have them":  {"0 1003 1\n1 100000 65536\n", "podman:1:999\npodman:1002:64535\n", 1, ""},
		"more":                {"0 1003 1\n1 100000 200000\n", "podman:1:999\npodman:1002:64536\n", 0, ""},
		"rootful":             {"0 0 4294967295\n", "podman:1:999\npodman:1002:64536\n", 0, ""},
		"few":                 {"0 1003 1\n1 100000 4000\n", "podman:1:999\npodman:1002:2999\n", 61537, ""},
		"a hole":              {"0 1003 1\n1 100000 3000\n9000 200000 9000", "podman:1:999\npodman:1002:1999\n", 62537, ""},
		"none for containers": {"0 1003 1\n1 100000 1001\n", "", 0, "65539"},
		"the user's alone":    {"0 1003 1\n", "", 0, "podman system migrate"},
		"no map":              {"?", "", 0, "read the map of ids"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, missing, err := image.RunnerRanges(c.idMap)
			if lines != c.lines || missing != c.missing || (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%q, %d, %v", lines, missing, err)
			}
		})
	}
}

func TestPrepareRunner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files to others")
	}
	root := t.TempDir()
	file := func(p string, mode os.FileMode, text string) {
		t.Helper()
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil { //nolint:gosec // as images have them
			t.Fatal(err)
		}
	}
	if err := image.PrepareRunner(root, false); err == nil || !strings.Contains(err.Error(), "no podman, no newuidmap, no newgidmap, no git, no crun") {
		t.Errorf("of nothing: %v", err)
	}
	for _, p := range []string{"podman", "newuidmap", "newgidmap", "git", "runc", "su", "apt-get", "dpkg"} {
		file("usr/bin/"+p, 0o755|fs.ModeSetuid, p)
	}
	file("usr/local/bin/wall", 0o755|fs.ModeSetgid, "wall")
	file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nuser:x:1001:1001::/home/user:/bin/sh\n")
	file("home/podman/.config/containers/storage.conf", 0o644, "[storage]\ndriver = \"vfs\"\n")
	file("etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n")
	for range 2 {
		if err := image.PrepareRunner(root, false); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\npodman:x:1000:1000::/home/podman:/bin/sh\nrunner:x:1001:1001::/home/runner:/bin/sh\n",
		"etc/group":  "podman:x:1000:\nrunner:x:1001:\n", "etc/subuid": "podman:1:999\npodman:1002:64536\n", "etc/subgid": "podman:1:999\npodman:1002:64536\n", "etc/machine-id": "",
	} {
		if got, err := os.ReadFile(filepath.Join(root, p)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", p, got, err)
		}
	}
	looks := func(p string) string {
		i, err := os.Lstat(filepath.Join(root, p))
		if err != nil {
			return "absent"
		}
		s := i.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // Linux
		return i.Mode().String() + " " + map[uint32]string{0: "root", image.NestedUID: "podman", image.RunnerUID: "runner"}[s.Uid]
	}
	got := map[string]string{}
	want := map[string]string{
		"usr/bin/newuidmap": "-rwxr-xr-x root", "usr/bin/su": "-rwxr-xr-x root", "usr/local/bin/wall": "-rwxr-xr-x root", "usr/bin/apt-get": "absent", "usr/bin/dpkg": "absent",
		"home/podman": "drwxr-xr-x podman", "home/podman/.local/share/containers": "drwx------ podman", "home/runner": "drwxr-xr-x runner", "cache": "drwxr-xr-x podman",
		"home/podman/.config/containers": "absent", "home/runner/podman.sock": "Lrwxrwxrwx root",
	}
	for p := range want {
		got[p] = looks(p)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	attribute := make([]byte, 64)
	if n, err := unix.Getxattr(filepath.Join(root, "usr/bin/newuidmap"), "security.capability", attribute); err != nil || attribute[4] != 0x80 {
		t.Errorf("newuidmap: %x, %v", attribute[:max(n, 0)], err)
	}
}
