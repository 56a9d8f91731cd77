package sources_test

import (
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

func TestCollect(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	place, dir := stagetest.New(t), t.TempDir()
	checkout(t, place, dir, p.sources(p.commit(map[string]string{"a": "1"})))
	pack := git(t, dir, "rev-parse", "HEAD")
	for i := range 55 { // each a pack of one object
		stagetest.WriteFile(t, filepath.Join(dir, "f"), strings.Repeat("x", i))
		blob := git(t, dir, "hash-object", "-w", "f")
		stagetest.WriteFile(t, filepath.Join(dir, "pack.sh"), "git pack-objects -q .git/objects/pack/pack >/dev/null <list\n")
		stagetest.WriteFile(t, filepath.Join(dir, "list"), blob)
		if res := place.Run(t, &stage.Spec{Dir: dir, Script: &stage.Script{Lines: []string{"sh pack.sh"}, Umask: -1}}); res.Reason != stage.Success {
			t.Fatal(res, place.Out)
		}
	}
	sha := p.commit(map[string]string{"a": "2"})
	checkout(t, place, dir, p.sources(sha))
	packs, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
	if err != nil || len(packs) > 5 {
		t.Errorf("%d packs are left after %s: %v", len(packs), pack, err)
	}
	checkTree(t, dir, sha)
}
