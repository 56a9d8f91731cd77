package sources_test

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// A job writes other content under the name of an object that the next job's commit has. Git would
// check it out; the next job must get what the name says.
func TestPoisonedObjects(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	f.outer.commit(map[string]string{"run.sh": "echo good\n", "dir/deep/x": "1\n", "alt/y": "2\n", "crlf.txt": "a\nb\n", ".gitattributes": "*.txt text eol=crlf\n"})
	sha := f.outer.commit(map[string]string{"other": "1\n"})
	next := f.outer.commit(map[string]string{"other": "2\n"})
	attacks := map[string]struct {
		object string // the one to replace
		kind   string
		other  string // the one to take its content from; empty: text
		module string
	}{
		"nothing":        {},
		"blob":           {object: "HEAD:run.sh", kind: "blob"},
		"filtered blob":  {object: "HEAD:crlf.txt", kind: "blob"},
		"tree":           {object: "HEAD:dir/deep", kind: "tree", other: "HEAD:alt"},
		"root tree":      {object: "HEAD^{tree}", kind: "tree", other: "HEAD:alt"},
		"commit":         {object: "HEAD", kind: "commit", other: "HEAD~1"},
		"submodule blob": {object: "HEAD:inner", kind: "blob", module: "libs/inner"},
		"submodule tree": {object: "HEAD^{tree}", kind: "tree", other: "HEAD:sub", module: "libs/inner"},
	}
	for name, tt := range attacks {
		for _, want := range []string{sha, next} {
			t.Run(name+"/"+want[:4], func(t *testing.T) {
				t.Parallel()
				place, dir := stagetest.New(t), filepath.Join(t.TempDir(), "p")
				checkout(t, place, dir, f.sources(sha, "normal"))
				if tt.object != "" {
					poison(t, filepath.Join(dir, tt.module), tt.object, tt.kind, tt.other)
				}
				out := checkout(t, place, dir, f.sources(want, "normal"))
				// A later commit may not need the object.
				if again := strings.Contains(out, "starting with an empty one"); again != (tt.object != "") && (again || want == sha) {
					t.Errorf("begun anew: %v; output:\n%s", again, out)
				}
				checkTree(t, dir, want)
				for file, content := range map[string]string{"run.sh": "echo good\n", "dir/deep/x": "1\n", "alt/y": "2\n", "crlf.txt": "a\r\nb\r\n", "libs/inner/inner": "1"} {
					if got := stagetest.ReadFile(t, filepath.Join(dir, file)); got != content {
						t.Errorf("%s: %q", file, got)
					}
				}
			})
		}
	}
}

// poison writes an object under the name of another.
func poison(t *testing.T, dir, object, kind, other string) {
	t.Helper()
	content := "echo evil\n"
	name := strings.TrimSpace(git(t, dir, "rev-parse", object))
	if other != "" {
		content = git(t, dir, "cat-file", kind, other)
	}
	gitDir := strings.TrimSpace(git(t, dir, "rev-parse", "--absolute-git-dir"))
	work := t.TempDir()
	git(t, ".", "init", "-q", "--bare", work)
	// all objects as files, so that the changed one is the only one of its name
	packs, _ := filepath.Glob(filepath.Join(gitDir, "objects/pack/*.pack"))
	place := stagetest.New(t)
	for _, pack := range packs {
		line := "cd " + work + " && git unpack-objects -q <'" + pack + "'"
		if res := place.Run(t, &stage.Spec{Dir: t.TempDir(), Script: &stage.Script{Lines: []string{line}, Umask: -1}}); res.Reason != stage.Success {
			t.Fatal(res, place.Out)
		}
	}
	objects := filepath.Join(gitDir, "objects")
	if err := os.RemoveAll(objects); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(objects, os.DirFS(filepath.Join(work, "objects"))); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = fmt.Fprintf(z, "%s %d\x00%s", kind, len(content), content)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(objects, name[:2], name[2:])
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	stagetest.WriteFile(t, file, b.String())
}

// Objects of an earlier job that nothing names are not in the way.
func TestPoisonedObjectsWithoutReferences(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	sha := p.commit(map[string]string{"run.sh": "echo good\n"})
	place, dir := stagetest.New(t), t.TempDir()
	checkout(t, place, dir, p.sources(sha))
	poison(t, dir, "HEAD:run.sh", "blob", "")
	for _, name := range []string{"HEAD", "refs", "packed-refs"} {
		if err := os.RemoveAll(filepath.Join(dir, ".git", name)); err != nil {
			t.Fatal(err)
		}
	}
	checkout(t, place, dir, p.sources(sha))
	if got := stagetest.ReadFile(t, filepath.Join(dir, "run.sh")); got != "echo good\n" {
		t.Errorf("run.sh: %q", got)
	}
}

// Trees with modes that git writes no more are verified, too.
func TestOldModes(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	p.commit(map[string]string{"dir/a": "1\n", "b": "2\n"})
	old := func(tree string) string { return strings.ReplaceAll(tree, "100644 ", "100664 ") }
	inner := p.object("tree", old(git(t, p.work, "cat-file", "tree", "HEAD:dir")))
	outer := old(git(t, p.work, "cat-file", "tree", "HEAD"))
	id := strings.TrimSpace(git(t, p.work, "rev-parse", "HEAD:dir"))
	root := p.object("tree", strings.Replace(outer, "dir\x00"+unhex(t, id), "dir\x00"+unhex(t, inner), 1))
	sha := strings.TrimSpace(git(t, p.work, "commit-tree", "-m", "old", root))
	git(t, p.work, "reset", "-q", "--hard", sha)
	git(t, p.work, "push", "-q", "-f", "origin", "HEAD:main")
	place, dir := stagetest.New(t), t.TempDir()
	for range 2 {
		if out := checkout(t, place, dir, p.sources(sha)); strings.Contains(out, "starting with an empty one") {
			t.Errorf("begun anew: %s", out)
		}
	}
	poison(t, dir, "HEAD:dir", "tree", "HEAD")
	if out := checkout(t, place, dir, p.sources(sha)); !strings.Contains(out, "starting with an empty one") {
		t.Errorf("not begun anew: %s", out)
	}
	if got := stagetest.ReadFile(t, filepath.Join(dir, "dir/a")); got != "1\n" {
		t.Errorf("dir/a: %q", got)
	}
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	var b []byte
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// object writes an object and returns its name.
func (p *project) object(kind, content string) string {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "object")
	stagetest.WriteFile(p.t, file, content)
	return strings.TrimSpace(git(p.t, p.work, "hash-object", "-t", kind, "-w", "--literally", file))
}
