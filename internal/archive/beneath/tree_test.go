package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// newTestTree makes a project with links in and out, and a Tree in it; byRoot takes the way of kernels
// without openat2.
func newTestTree(t *testing.T, byRoot bool) (dir string, tree *Tree) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "project")
	for _, d := range []string{"a/b", "../outside/dir"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"in": "a", "out": "../outside", "abs": "/etc", "a/up": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, err = New(root)
	if err != nil {
		t.Fatal(err)
	}
	tree.byRoot = byRoot
	t.Cleanup(func() {
		tree.Close()
		_ = root.Close()
	})
	return dir, tree
}

func TestDir(t *testing.T) {
	t.Parallel()
	for _, byRoot := range []bool{false, true} {
		dir, tree := newTestTree(t, byRoot)
		for name, same := range map[string]string{
			".": ".", "a": "a", "a/b": "a/b", "in": "a", "in/b": "a/b", "a/up/a": "a",
			"out": "", "out/dir": "", "abs": "", "none": "", "a/up/out": "",
		} {
			t.Run(fmt.Sprintf("%s/%v", name, byRoot), func(t *testing.T) {
				fd, err := tree.Dir(name)
				if same == "" {
					if err == nil {
						t.Error("no error")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				var got, want unix.Stat_t
				if err := errors.Join(unix.Fstat(fd, &got), unix.Stat(filepath.Join(dir, same), &want)); err != nil {
					t.Fatal(err)
				}
				if got.Ino != want.Ino {
					t.Errorf("is not %s", same)
				}
			})
		}
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	for _, byRoot := range []bool{false, true} {
		dir, tree := newTestTree(t, byRoot)
		for _, name := range []string{"x/y/z", "in/new", "a"} {
			if _, err := tree.Make(name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if st, err := os.Stat(filepath.Join(dir, name)); err != nil || !st.IsDir() {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"out/new", "abs/new", "a/up/out/new"} {
			if _, err := tree.Make(name); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "../outside")); len(left) != 1 {
			t.Errorf("outside holds %v", left)
		}
	}
}

// More directories than are kept open, in an order that asks for closed ones again.
func TestManyDirectories(t *testing.T) {
	t.Parallel()
	dir, tree := newTestTree(t, false)
	for range 2 {
		for i := range 3 * openDirs {
			name := fmt.Sprintf("many/%d", i)
			fd, err := tree.Make(name)
			if err != nil {
				t.Fatal(err)
			}
			var got, want unix.Stat_t
			if err := errors.Join(unix.Fstat(fd, &got), unix.Stat(filepath.Join(dir, name), &want)); err != nil || got.Ino != want.Ino {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if len(tree.opened) > openDirs {
		t.Errorf("%d directories are open", len(tree.opened))
	}
}

func TestOpenFollowsNoLink(t *testing.T) {
	t.Parallel()
	dir, tree := newTestTree(t, false)
	if err := os.Symlink("b", filepath.Join(dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Open("a/link"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("open of a link: %v", err)
	}
	if target, err := tree.Readlink("a/link"); err != nil || target != "b" {
		t.Errorf("readlink = %q, %v", target, err)
	}
	if _, err := tree.Open("a/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of nothing: %v", err)
	}
}
