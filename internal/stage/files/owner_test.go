package files_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
)

// TestExtractedFilesKeepTheirOwners wants a job of another user than the helper's to be able to change what an
// earlier job of the same user has made, and nothing to change hands where there is one user.
func TestExtractedFilesKeepTheirOwners(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const uid, gid = 1234, 4321
	for _, format := range []string{"zip", "tarzstd"} {
		for _, mixed := range []bool{true, false} {
			b := newCacheBed(t, "vendor/sub/file")
			names := []string{"vendor", "vendor/sub", "vendor/sub/file", "vendor/link"}
			if err := os.Symlink("sub", filepath.Join(b.dir, "vendor/link")); err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				if err := os.Lchown(filepath.Join(b.dir, n), uid, gid); err != nil {
					t.Fatal(err)
				}
			}
			if res, log := b.save(t, "k", format, stage.Files{Paths: []string{"vendor"}}); res.Reason != stage.Success {
				t.Fatalf("%+v\n%s", res, log)
			}
			if err := os.RemoveAll(filepath.Join(b.dir, "vendor")); err != nil {
				t.Fatal(err)
			}
			res := b.Run(t, &stage.Spec{ID: "restore", Dir: b.dir, Mixed: mixed, RestoreCache: &stage.RestoreCache{
				Caches: []stage.CacheFrom{{Candidates: []stage.CacheFile{b.file("k")}}}, Attempts: 1,
			}})
			if len(res.Caches) != 1 || !res.Caches[0].Hit {
				t.Fatalf("%+v\n%s", res, b.Out.Take())
			}
			want := [2]uint32{}
			if mixed {
				want = [2]uint32{uid, gid}
			}
			for _, n := range names {
				st, err := os.Lstat(filepath.Join(b.dir, n))
				if err != nil {
					t.Fatal(err)
				}
				sys := st.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // of Linux
				if got := [2]uint32{sys.Uid, sys.Gid}; got != want {
					t.Errorf("%s, mixed %v: %s belongs to %v, want %v", format, mixed, n, got, want)
				}
			}
		}
	}
}
