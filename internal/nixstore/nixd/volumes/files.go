package volumes

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Write replaces a file, whatever it is: a link is not followed.
func Write(path string, mode fs.FileMode, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".skerry-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// RemoveAll removes a tree whose directories may be write-protected, as store paths are.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, os.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o755) //nolint:gosec // about to be removed
		}
		return nil
	})
	return os.RemoveAll(path)
}

// CopyFile copies a file, whose mode it sets.
func CopyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}

// Sweep removes what a killed daemon has left: nothing else runs in the volumes now.
func Sweep(l Layout) {
	all := ""
	for dir, beginnings := range map[string][]string{
		l.State() + "/temproots": {all}, l.State() + "/gc-socket": {all}, l.State() + "/builds": {all},
		l.Root + "/tmp": {"nix-build-"}, l.Store(): {"tmp-", "add-", ".tmp-link", SeedPrefix},
	} {
		for _, name := range beginning(dir, beginnings) {
			_ = RemoveAll(filepath.Join(dir, name)) // it only takes room
		}
	}
}

// beginning lists the names in a directory that begin with one of some words. It reads the directory once and sorts nothing:
// a store has hundreds of thousands, and a job may wait. What cannot be read is left out.
func beginning(dir string, words []string) (found []string) {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(4096)
		for _, name := range names {
			if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(name, w) }) {
				found = append(found, name)
			}
		}
		if err != nil {
			return found
		}
	}
}
