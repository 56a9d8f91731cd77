package sources

import (
	"io/fs"
	"path/filepath"
	"strings"
)

// maxCounted bounds the files that are looked at.
const maxCounted = 50_000

// fetched is how many bytes the objects take up that a repository, its submodules and git-lfs have: what has
// grown was fetched, but for what git packs anew.
func fetched(gitDir string) int64 {
	var size int64
	n := 0
	for _, dir := range []string{"objects", "modules", "lfs"} {
		_ = filepath.WalkDir(filepath.Join(gitDir, dir), func(path string, d fs.DirEntry, err error) error {
			if n++; n > maxCounted {
				return fs.SkipAll
			}
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // what cannot be read is not counted
			}
			if i, err := d.Info(); err == nil && (dir != "modules" || strings.Contains(path, "/objects/")) {
				size += i.Size()
			}
			return nil
		})
	}
	return size
}
