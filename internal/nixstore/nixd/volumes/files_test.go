package volumes_test

import (
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
