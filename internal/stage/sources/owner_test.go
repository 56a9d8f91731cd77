package sources_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// TestRepositoryIsTakenBack wants git to obey a repository that an earlier job's user had got.
func TestRepositoryIsTakenBack(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	server := newGitServer(t)
	f := newFamily(t, server)
	for _, strategy := range []string{"fetch", "clone"} {
		place, dir := stagetest.New(t), filepath.Join(t.TempDir(), "p")
		get := func() {
			s := f.sources(f.outer.commit(map[string]string{"a": strategy + "\n"}), "none")
			s.Strategy = strategy
			if res := place.Run(t, &stage.Spec{ID: "get_sources", Dir: dir, Mixed: true, Sources: s}); res.Reason != stage.Success {
				t.Fatalf("%+v\n%s", res, place.Out.Take())
			}
		}
		get()
		paths := []string{dir, filepath.Join(dir, ".git")}
		want := []os.FileMode{0o700 | os.ModeDir, 0o700 | os.ModeDir}
		for i, p := range paths {
			st, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			if strategy == "clone" {
				want[i] = st.Mode()
			}
			if err := os.Chown(p, 1234, 1234); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(p, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		get()
		for i, p := range paths {
			st, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			if uid := st.Sys().(*syscall.Stat_t).Uid; uid != 0 || st.Mode() != want[i] { //nolint:forcetypeassert // of Linux
				t.Errorf("%s: %s belongs to %d, its mode is %v, want 0 and %v", strategy, p, uid, st.Mode(), want[i])
			}
		}
	}
}
