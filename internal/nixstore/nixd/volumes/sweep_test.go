package volumes_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// What a killed daemon has left goes, however much else there is, and nothing but that.
func TestSweep(t *testing.T) {
	t.Parallel()
	l := volumes.Layout{Root: t.TempDir()}
	const hash = "0123456789abcdfghijklmnpqrsvwxyz"
	var kept []string
	for path, left := range map[string]bool{
		l.Store() + "/" + hash + "-tmp-1": false, l.Store() + "/.links/x": false, l.Store() + "/" + hash + "-a.lock": false,
		l.Store() + "/tmp-1/x": true, l.Store() + "/add-2": true, l.Store() + "/.tmp-link-3": true, l.Store() + "/" + volumes.SeedPrefix + hash + "-a": true,
		l.State() + "/temproots/12": true, l.State() + "/gc-socket/socket": true, l.State() + "/builds/b/x": true, l.State() + "/db/db.sqlite": false,
		l.Root + "/tmp/nix-build-a.drv-0/x": true, l.Root + "/tmp/other": false,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if !left {
			kept = append(kept, path)
		}
	}
	for i := range 5000 { // more than are read at once
		if err := os.Mkdir(fmt.Sprintf("%s/%s-%d", l.Store(), hash, i), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fmt.Sprintf("%s/tmp-many-%d", l.Store(), i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	volumes.Sweep(l)
	var files []string
	dirs := 0
	err := filepath.WalkDir(l.Root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !e.IsDir():
			files = append(files, path)
		case strings.Contains(path, hash):
			dirs++
		}
		return nil
	})
	if err != nil || dirs != 5000 {
		t.Errorf("%d paths of 5000, %v", dirs, err)
	}
	slices.Sort(kept)
	slices.Sort(files)
	if diff := cmp.Diff(kept, files); diff != "" {
		t.Error(diff)
	}
}

// made is a layout with its directories, and one path in the store.
func made(t *testing.T) volumes.Layout {
	t.Helper()
	l := volumes.Layout{Root: t.TempDir()}
	if err := l.Make(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(l.Store()+"/"+strings.Repeat("0", 32)+"-a", 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

// isLeft reports whether something that a daemon may leave in the store outlasts the beginning of the next. It does where
// nobody has looked through the store.
func isLeft(t *testing.T, l volumes.Layout, image, boot string) bool {
	t.Helper()
	left := l.Store() + "/tmp-left"
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{l.State() + "/temproots/1", l.State() + "/gc-socket/s"} {
		if err := os.WriteFile(beside, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := volumes.Begin(l, image, boot); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{l.State() + "/temproots", l.State() + "/gc-socket"} {
		if some, err := os.ReadDir(dir); err != nil || len(some) > 0 {
			t.Errorf("%s: %v is left, %v", dir, some, err)
		}
	}
	_, err := os.Lstat(left)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// TestBegin sweeps the store, unless the last daemon has left it clean, of which nothing is to be known otherwise.
func TestBegin(t *testing.T) {
	t.Parallel()
	const image, boot = "image-1", "boot-1"
	end := func(t *testing.T, l volumes.Layout) {
		t.Helper()
		if err := volumes.End(l, image, boot); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		before      func(t *testing.T, l volumes.Layout)
		image, boot string
		left        bool
	}{
		"first start": {func(*testing.T, volumes.Layout) {}, image, boot, false},
		"clean end":   {end, image, boot, true},
		"killed": {func(t *testing.T, l volumes.Layout) {
			t.Helper()
			end(t, l)
			if err := volumes.Begin(l, image, boot); err != nil {
				t.Fatal(err)
			}
		}, image, boot, false},
		"power loss":          {end, image, "boot-2", false},
		"the boot is unknown": {end, image, "", false},
		"it was unknown": {func(t *testing.T, l volumes.Layout) {
			t.Helper()
			if err := volumes.End(l, image, ""); err != nil {
				t.Fatal(err)
			}
		}, image, "", false},
		"another image": {end, "image-2", boot, false},
		"something was written meanwhile": {func(t *testing.T, l volumes.Layout) {
			t.Helper()
			end(t, l)
			if err := volumes.Disturb(l); err != nil {
				t.Fatal(err)
			}
		}, image, boot, false},
		"not all of it was written": {func(t *testing.T, l volumes.Layout) {
			t.Helper()
			end(t, l)
			if err := os.Truncate(l.Memory()+"/clean", 4); err != nil {
				t.Fatal(err)
			}
		}, image, boot, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := made(t)
			c.before(t, l)
			if left := isLeft(t, l, c.image, c.boot); left != c.left {
				t.Errorf("what lies in the store outlasts the beginning: %t, want %t", left, c.left)
			}
			if c.left && isLeft(t, l, c.image, c.boot) {
				t.Error("a clean end counts twice")
			}
		})
	}
}

// TestEnd leaves nothing, or does not say so.
func TestEnd(t *testing.T) {
	t.Parallel()
	l := made(t)
	if err := os.WriteFile(l.Store()+"/add-1", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := volumes.End(l, "i", "b"); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(l.Store()); err != nil || len(names) != 1 {
		t.Errorf("left are %v, %v", names, err)
	}
	if !isLeft(t, l, "i", "b") {
		t.Error("a clean end is not believed")
	}
	if err := os.Rename(l.Store(), l.Root+"/elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := volumes.End(l, "i", "b"); err == nil {
		t.Error("a store that cannot be read is said to be clean")
	}
	if err := os.Rename(l.Root+"/elsewhere", l.Store()); err != nil {
		t.Fatal(err)
	}
	if isLeft(t, l, "i", "b") {
		t.Error("a store that could not be swept counts as clean")
	}
}

// TestBeginRefuses a store that would be taken for clean later, after who knows what.
func TestBeginRefuses(t *testing.T) {
	t.Parallel()
	l := made(t)
	if err := os.MkdirAll(l.Memory()+"/clean/x", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := volumes.Begin(l, "i", "b"); err == nil {
		t.Error("it begins")
	}
}
