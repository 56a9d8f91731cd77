package nixd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// machine is a root directory with the given files.
func machine(t *testing.T, files map[string]string) volumes.Layout {
	t.Helper()
	root := t.TempDir()
	for p, content := range files {
		at := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return volumes.Layout{Root: root}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const full = "0 0 4294967295\n"

func TestMakeUsers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		uids, passwd, group string
		users               int
		firstUser, line     string // what the files then have
	}{
		"debian":    {full, "root:x:0:0:root:/root:/bin/bash\n", "root:x:0:\n", 32, "nixbld1:x:30001:30000:", "nixbld:x:30000:nixbld1,nixbld2,"},
		"scratch":   {full, "", "", 32, "root:x:0:0::/root:/bin/sh\nnixbld1:x:30001:30000:", "nixbld:x:30000:nixbld1,"},
		"taken ids": {full, "root:x:0:0::/:/bin/sh\nme:x:30001:1::/:/bin/sh\n", "me:x:30000:\n", 32, "nixbld1:x:30002:30001:", "nixbld:x:30001:"},
		"nix's own": {full, "root:x:0:0::/:/bin/sh\nnixbld1:x:30001:30000:Nix:/:/x\n", "nixbld:x:30000:nixbld1\n", 32, "nixbld1:x:30001:30000:Nix:/:/x", "nixbld:x:30000:nixbld1,nixbld2,"},
		"few ids":   {"0 1000 1\n1 100000 20000\n", "root:x:0:0::/:/bin/sh\n", "root:x:0:\n", 32, "nixbld1:x:2000:2000:", "nixbld:x:2000:"},
		"no ids":    {"0 1000 1\n", "root:x:0:0::/:/bin/sh\n", "root:x:0:\n", 0, "root:x:0:0::/:/bin/sh", "root:x:0:"},
		"malformed": {full, "root\n:::::\nx:x:y:z\n", "nixbld\nnixbld:\n", 32, "nixbld1:x:30001:30000:", "nixbld:x:30000:nixbld1,"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := machine(t, map[string]string{
				"proc/self/uid_map": test.uids, "proc/self/gid_map": test.uids, "etc/passwd": test.passwd, "etc/group": test.group,
			})
			var first string
			for range 2 { // again changes nothing
				n, err := makeUsers(l)
				if err != nil || n != test.users {
					t.Fatalf("%d users, %v; want %d", n, err, test.users)
				}
				passwd, group := read(t, l.Etc()+"/passwd"), read(t, l.Etc()+"/group")
				if !strings.Contains(passwd, test.firstUser) || !strings.Contains(group, test.line) {
					t.Errorf("passwd:\n%s\ngroup:\n%s", passwd, group)
				}
				if first != "" {
					if d := cmp.Diff(first, passwd+group); d != "" {
						t.Error(d)
					}
				}
				first = passwd + group
			}
		})
	}
}

// An image made by Nix has links into the store for these files.
func TestMakeUsersReplacesLinks(t *testing.T) {
	t.Parallel()
	l := machine(t, map[string]string{"store/passwd": "root:x:0:0::/root:/bin/sh\n", "proc/self/uid_map": full, "proc/self/gid_map": full})
	if err := os.MkdirAll(l.Etc(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../store/passwd", l.Etc()+"/passwd"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", l.Etc()+"/group"); err != nil {
		t.Fatal(err)
	}
	if n, err := makeUsers(l); n != buildUsers || err != nil {
		t.Fatal(n, err)
	}
	if got := read(t, l.Root+"/store/passwd"); strings.Contains(got, buildGroup) {
		t.Error("the store has been written to")
	}
	if got := read(t, l.Etc()+"/passwd"); !strings.HasPrefix(got, "root:x:0:0::/root:/bin/sh\nnixbld1:") {
		t.Error(got)
	}
}
