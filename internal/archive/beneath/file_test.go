package beneath_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/archive/beneath"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree, err := beneath.New(root)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	write := func(name, content string) {
		t.Helper()
		fd, err := tree.Create(name, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		if err := beneath.Write(fd, name, []byte(content)); err != nil {
			t.Error(err)
		}
		_ = unix.Close(fd)
	}
	write("a/b/file", "first")
	if err := os.Link(filepath.Join(dir, "a/b/file"), filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	write("a/b/file", "second")
	if got, err := tree.ReadFile("other", make([]byte, 99)); string(got) != "first" || err != nil {
		t.Errorf("the other name of a replaced file holds %q, %v", got, err)
	}
	if _, err := tree.Symlink("/etc", "a/b/file"); err != nil {
		t.Error(err)
	}
	write("a/b/file", "third") // in place of the link
	if _, err := tree.Create("a", 0o600); err == nil {
		t.Error("a directory that is not empty was replaced")
	}
	var st unix.Stat_t
	if err := tree.Lstat("a/b/file", &st); err != nil {
		t.Fatal(err)
	}
	if fd, err := tree.OpenSame("a/b/file", &st); err != nil {
		t.Error(err)
	} else {
		defer unix.Close(fd)
	}
	if err := os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, "a/b/file")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.OpenSame("a/b/file", &st); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("another file was opened: %v", err)
	}
}
