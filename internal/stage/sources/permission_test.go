package sources_test

import (
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// A job can leave directories that not even their owner may read or write. (Root may do all: run as another user.)
func TestWithoutPermission(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]os.FileMode{"": 0o500, ".git": 0, ".git/objects/pack": 0o500, "dir": 0, ".git/modules/libs/inner": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newGitServer(t)
			f := newFamily(t, server)
			sha := f.outer.commit(map[string]string{"dir/b": "2\n"})
			place, dir := stagetest.New(t), filepath.Join(t.TempDir(), "p")
			checkout(t, place, dir, f.sources(sha, "normal"))
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
			sha = f.outer.commit(map[string]string{"dir/b": "3\n"})
			checkout(t, place, dir, f.sources(sha, "normal"))
			checkTree(t, dir, sha)
		})
	}
}
