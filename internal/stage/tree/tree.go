// Package tree makes and removes directories below which jobs may have left anything: links in the way,
// and directories that their owner may not write.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Make makes dir and what is missing above it. Whatever jobs may have left below base is not
// trusted: a component that is not a real directory (a link to somewhere else above all) is
// removed and made anew. An empty base is the parent of dir; base itself and what is above it may be links.
func Make(base, dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("the working directory %q is not an absolute path", dir)
	}
	dir = filepath.Clean(dir)
	if base == "" {
		base = filepath.Dir(dir)
	}
	rel, err := filepath.Rel(base, dir)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return fmt.Errorf("the working directory %q is not below %q", dir, base)
	}
	if err := os.MkdirAll(base, 0o777); err != nil {
		return err
	}
	if rel == "." {
		return nil
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer root.Close()
	parts := strings.Split(rel, "/")
	for i := range parts {
		if err := makeReal(root, filepath.Join(parts[:i+1]...)); err != nil {
			return fmt.Errorf("make %s: %w", filepath.Join(base, filepath.Join(parts[:i+1]...)), err)
		}
	}
	return nil
}

// makeReal makes name in root a directory that is no link.
func makeReal(root *os.Root, name string) error {
	st, err := root.Lstat(name)
	switch {
	case err == nil && st.IsDir():
		return nil
	case err == nil:
		if err := root.Remove(name); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := root.Mkdir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// RemoveAll removes path and everything below it, also out of directories whose owner (the agent's
// user) took the permission to write from himself. It follows no link. What is missing is no error.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	parent, oerr := os.OpenRoot(filepath.Dir(path))
	if oerr != nil {
		return err
	}
	defer parent.Close()
	unlock(parent, filepath.Base(path))
	return os.RemoveAll(path)
}

// unlock gives the owner all permissions for the directory name and those below it, as far as it can.
func unlock(root *os.Root, name string) {
	st, err := root.Lstat(name)
	if err != nil || !st.IsDir() {
		return
	}
	if st.Mode().Perm()&0o700 != 0o700 {
		_ = root.Chmod(name, st.Mode().Perm()|0o700)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return
	}
	defer dir.Close()
	entries, _ := readDir(dir, ".")
	for _, e := range entries {
		if e.IsDir() {
			unlock(dir, e.Name())
		}
	}
}

// readDir lists a directory of root, unsorted.
func readDir(root *os.Root, name string) ([]fs.DirEntry, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}
