package view_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
	"gitlab.com/skerry/skerry/internal/nixstore/view"
)

// newStore is a store with two paths that are seen by others as everything in a store is.
func newStore(t *testing.T) (store string, paths []nixwire.StorePath) {
	t.Helper()
	store = t.TempDir()
	for _, name := range []string{"dir", "file", "link"} {
		p, err := nixwire.FromBase(strings.Repeat("0", 32) + "-" + name)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	dir := filepath.Join(store, paths[0].Base())
	for _, d := range []string{"bin", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "bin/program"), "program", 0o555)
	write(t, filepath.Join(store, paths[1].Base()), strings.Repeat("x", 1<<20), 0o444)
	for name, target := range map[string]string{filepath.Join(dir, "up"): "../..", filepath.Join(store, paths[2].Base()): "/nowhere"} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "empty", "."} {
		name := filepath.Join(dir, d)
		if err := errors.Join(os.Chmod(name, 0o555), os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0))); err != nil { //nolint:gosec // as in a store
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { unlock(t, store) })
	return store, paths
}

func write(t *testing.T, name, text string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(name, []byte(text), mode), os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0))); err != nil {
		t.Fatal(err)
	}
}

// unlock lets a directory be removed.
func unlock(t *testing.T, dir string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o755) //nolint:gosec // a test's
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// newView is a directory that a job sees.
func newView(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { unlock(t, dir) })
	return dir
}

// entries describes what is in a directory.
func entries(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		said := i.Mode().String()
		switch {
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			said += " " + target
		default:
			said += " " + i.ModTime().UTC().String()
			if i.Mode().IsRegular() {
				text, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				said += " " + string(text)
			}
		}
		name, _ := filepath.Rel(dir, p)
		all[name] = said
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestShow has many show the same paths at once: each is there when it is shown, as it is in the store, and nothing else.
func TestShow(t *testing.T) {
	t.Parallel()
	store, paths := newStore(t)
	other := filepath.Join(store, strings.Repeat("1", 32)+"-secret")
	write(t, other, "secret", 0o444)
	dir := newView(t)
	v, err := view.New(store, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := v.Show(t.Context(), paths); err != nil {
				t.Error(err)
			}
			if !v.Shows(paths[0]) {
				t.Error("what was shown is not")
			}
			if _, err := os.Stat(filepath.Join(dir, paths[0].Base(), "bin/program")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries(t, store), entries(t, dir)); diff != "" {
		t.Error(diff)
	}
	shown := v.Shown()
	slices.Sort(shown)
	if !slices.Equal(shown, paths) {
		t.Errorf("shown are %q", shown)
	}
}

// TestShowMissing shows what is not there, and what there is when it is.
func TestShowMissing(t *testing.T) {
	t.Parallel()
	store, paths := newStore(t)
	late, err := nixwire.FromBase(strings.Repeat("2", 32) + "-late")
	if err != nil {
		t.Fatal(err)
	}
	dir := newView(t)
	v, err := view.New(store, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var failed *view.Error
	if err := v.Show(t.Context(), append(paths, late)); !errors.As(err, &failed) || failed.Path != late || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if v.Shows(paths[0]) {
		t.Error("a path is shown without what belongs to it")
	}
	write(t, filepath.Join(store, late.Base()), "late", 0o444)
	if err := v.Show(t.Context(), append(paths, late)); err != nil || !v.Shows(late) {
		t.Error(err)
	}
}

// TestSuccessor takes over what an earlier view has left: copies that are complete, and none that are not.
func TestSuccessor(t *testing.T) {
	t.Parallel()
	store, paths := newStore(t)
	dir := newView(t)
	v, err := view.New(store, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Show(t.Context(), paths[:1]); err != nil {
		t.Fatal(err)
	}
	v.Close()
	write(t, filepath.Join(dir, ".new-"+paths[1].Base()), "half", 0o444)
	if v, err = view.New(store, dir); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Shows(paths[0]) {
		t.Error("a successor knows what belongs to a path")
	}
	if err := v.Show(t.Context(), paths); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries(t, store), entries(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// TestClosed shows nothing any more, and waits for nobody who does not.
func TestClosed(t *testing.T) {
	t.Parallel()
	store, paths := newStore(t)
	v, err := view.New(store, newView(t))
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	if err := v.Show(t.Context(), paths); err == nil {
		t.Error("a view that is closed shows something")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err = view.New(store, newView(t)); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Show(over, nil); err != nil {
		t.Error("of nothing: ", err)
	}
	for _, dirs := range [][2]string{{filepath.Join(store, "none"), store}, {store, filepath.Join(store, "none")}} {
		if _, err := view.New(dirs[0], dirs[1]); err == nil {
			t.Errorf("a view in %q", dirs)
		}
	}
}
