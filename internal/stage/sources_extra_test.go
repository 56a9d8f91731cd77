package stage

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCollect(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	place, dir := newPlace(t), t.TempDir()
	place.checkout(t, dir, p.sources(p.commit(map[string]string{"a": "1"})))
	pack := git(t, dir, "rev-parse", "HEAD")
	for i := range manyPacks + 5 { // each a pack of one object
		writeFile(t, filepath.Join(dir, "f"), strings.Repeat("x", i))
		blob := git(t, dir, "hash-object", "-w", "f")
		writeFile(t, filepath.Join(dir, "pack.sh"), "git pack-objects -q .git/objects/pack/pack >/dev/null <list\n")
		writeFile(t, filepath.Join(dir, "list"), blob)
		if res := place.run(t, &Spec{Dir: dir, Script: &Script{Lines: []string{"sh pack.sh"}, Umask: -1}}); res.Reason != Success {
			t.Fatal(res, place.out)
		}
	}
	sha := p.commit(map[string]string{"a": "2"})
	place.checkout(t, dir, p.sources(sha))
	packs, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
	if err != nil || len(packs) > 5 {
		t.Errorf("%d packs are left after %s: %v", len(packs), pack, err)
	}
	checkTree(t, dir, sha)
}

func TestCloneArguments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"git version 2.49.0\n": true, "git version 2.49": true, "git version 3.1.2 (Apple Git-1)": true,
		"git version 2.48.9": false, "git version x.y": false, "": false} {
		if got := atLeast(text, 2, 49); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	g := repository{dir: "/d", s: &Sources{URL: "https://u:p@h/x.git", Depth: 5, Ref: "refs/merge-requests/1/head", CloneFlags: []string{"--quiet"}}}
	want := []string{"clone", "--no-checkout", "--template=", "--depth", "5", "--revision=refs/merge-requests/1/head", "--quiet", "--", "https://h/x.git", "/d"}
	if diff := cmp.Diff(want, g.cloneArgs()); diff != "" {
		t.Error(diff)
	}
	g.s.Ref, g.s.Depth = "-b", 0
	want = []string{"clone", "--no-checkout", "--template=", "--branch=-b", "--quiet", "--", "https://h/x.git", "/d"}
	if diff := cmp.Diff(want, g.cloneArgs()); diff != "" {
		t.Error(diff)
	}
}
