package sources_test

import (
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

func TestLFSInSubmodule(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	content := "a large file\n"
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + server.storeLFS(content) + "\nsize 13\n"
	inner := f.inner.commit(map[string]string{".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "x.bin": pointer})
	git(t, f.outer.work, "update-index", "--cacheinfo", "160000,"+inner+",libs/inner")
	git(t, f.outer.work, "commit", "-q", "-m", "newer")
	git(t, f.outer.work, "push", "-q", "--no-verify", "origin", "HEAD:main")
	sha := strings.TrimSpace(git(t, f.outer.work, "rev-parse", "HEAD"))
	for name, want := range map[string]string{"pull": content, "skip": pointer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, dir := stagetest.New(t), t.TempDir()
			for range 2 {
				s := f.sources(sha, "recursive")
				s.LFSSkip = name == "skip"
				spec := &stage.Spec{Dir: dir, Sources: s, Env: []stage.Var{{Key: "GIT_LFS_SKIP_SMUDGE", Value: map[bool]string{true: "1", false: "0"}[s.LFSSkip]}}}
				if res := place.Run(t, spec); res.Reason != stage.Success {
					t.Fatalf("result %+v, output:\n%s", res, place.Out)
				}
				if got := stagetest.ReadFile(t, filepath.Join(dir, "libs/inner/x.bin")); got != want {
					t.Errorf("got %q, want %q; output:\n%s", got, want, place.Out)
				}
				if strings.Contains(place.Out.String(), "starting with an empty one") {
					t.Errorf("begun anew:\n%s", place.Out)
				}
			}
			checkNoToken(t, dir, place)
		})
	}
}
