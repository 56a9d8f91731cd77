package sources_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// family is a project with a submodule that has a submodule of its own.
type family struct {
	outer, inner, deep *project
	innerSHA           string
}

func newFamily(t *testing.T, server *gitServer) *family {
	t.Helper()
	f := &family{outer: server.project(t, "outer"), inner: server.project(t, "inner"), deep: server.project(t, "deep")}
	f.deep.commit(map[string]string{"deep": "1"})
	f.inner.commit(map[string]string{"inner": "1"})
	f.outer.commit(map[string]string{"outer": "1"})
	f.innerSHA = f.inner.addSubmodule(f.deep, "sub/deep", "../deep.git")
	f.outer.addSubmodule(f.inner, "libs/inner", f.inner.url)
	return f
}

// addSubmodule commits sub at path; the recorded URL is url.
func (p *project) addSubmodule(sub *project, path, url string) string {
	p.t.Helper()
	git(p.t, p.work, "submodule", "add", "-q", sub.work, path)
	git(p.t, p.work, "config", "-f", ".gitmodules", "submodule."+path+".url", url)
	return p.commit(nil)
}

func (f *family) sources(sha, strategy string) *stage.Sources {
	s := f.outer.sources(sha)
	s.Submodules.Strategy = strategy
	return s
}

func TestSubmodules(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	sha := strings.TrimSpace(git(t, f.outer.work, "rev-parse", "HEAD"))
	for strategy, deep := range map[string]bool{"none": false, "normal": false, "recursive": true} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			place, dir := stagetest.New(t), filepath.Join(t.TempDir(), "a b")
			for range 2 {
				out := checkout(t, place, dir, f.sources(sha, strategy))
				if strategy == "none" {
					if !strings.HasSuffix(out, "\x1b[32;1mSkipping Git submodules setup\x1b[0;m\n") {
						t.Errorf("output %q", out)
					}
					continue
				}
				for _, want := range []string{"\x1b[32;1mUpdating/initializing submodules", "Submodule 'libs/inner' (" + f.inner.url + ") registered for path 'libs/inner'\n",
					"Synchronizing submodule url for 'libs/inner'\n", "Submodule path 'libs/inner': checked out '" + f.innerSHA + "'\n",
					"\x1b[32;1mUpdated submodules\x1b[0;m\n", "Entering 'libs/inner'\n"} {
					if !strings.Contains(out, want) {
						t.Errorf("the output does not contain %q:\n%s", want, out)
					}
				}
				if got := stagetest.ReadFile(t, filepath.Join(dir, "libs/inner/inner")); got != "1" {
					t.Errorf("submodule's file: %q", got)
				}
				_, err := os.Lstat(filepath.Join(dir, "libs/inner/sub/deep/deep"))
				if (err == nil) != deep {
					t.Errorf("submodule of the submodule: %v", err)
				}
				checkTree(t, dir, sha)
				if got := git(t, filepath.Join(dir, "libs/inner"), "for-each-ref", "refs/skerry"); got != "" {
					t.Errorf("left behind: %s", got)
				}
				stagetest.WriteFile(t, filepath.Join(dir, "libs/inner/junk"), "x")
			}
			checkNoToken(t, dir, place)
		})
	}
}

// A job's own git reaches the coordinator with the job's token, also in submodules.
func TestGitInTheJob(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	sha := strings.TrimSpace(git(t, f.outer.work, "rev-parse", "HEAD"))
	place, dir := stagetest.New(t), t.TempDir()
	checkout(t, place, dir, f.sources(sha, "recursive"))
	env := []stage.Var{{Key: "CI_JOB_TOKEN", Value: testToken}}
	script := &stage.Script{Umask: -1, Lines: []string{"git fetch -q origin", "cd libs/inner; git fetch -q origin", "cd sub/deep; git fetch -q origin", "git log --oneline | cat; git status"}}
	if res := place.Run(t, &stage.Spec{Dir: dir, Env: env, Script: script}); res.Reason != stage.Success {
		t.Errorf("result %+v, output:\n%s", res, place.Out)
	}
	checkNoToken(t, dir, place)
}

// Objects of a submodule are used again, and nothing else that a job left in its repository.
func TestPlantedInSubmodule(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	sha := strings.TrimSpace(git(t, f.outer.work, "rev-parse", "HEAD"))
	attacks := map[string]func(a *attack){
		"nothing": func(*attack) {},
		"config and hooks": func(a *attack) {
			for _, m := range []string{".git/modules/libs/inner", ".git/modules/libs/inner/modules/sub/deep"} {
				a.append(m+"/config", a.config())
				for _, h := range []string{"post-checkout", "reference-transaction", "post-index-change"} {
					a.link(a.evil, m+"/hooks/"+h)
				}
			}
		},
		"gitfile": func(a *attack) {
			repo := a.repository()
			a.remove("libs/inner/.git")
			a.write("libs/inner/.git", "gitdir: "+repo+"\n")
		},
		"repository": func(a *attack) {
			a.remove("libs/inner/.git")
			a.git("init", "-q", "libs/inner")
			a.append("libs/inner/.git/config", a.config())
		},
		"commondir": func(a *attack) { a.write(".git/modules/libs/inner/commondir", a.repository()+"\n") },
		"linked module": func(a *attack) {
			repo := a.repository()
			a.remove(".git/modules/libs/inner")
			a.link(repo, ".git/modules/libs/inner")
		},
		"linked modules": func(a *attack) {
			repo := a.repository()
			if err := os.Rename(repo, filepath.Join(filepath.Dir(repo), "inner")); err != nil {
				a.t.Fatal(err)
			}
			a.remove(".git/modules/libs")
			a.link(filepath.Dir(repo), ".git/modules/libs")
		},
		"linked work tree": func(a *attack) {
			a.remove("libs/inner")
			a.link(a.outside, "libs/inner")
		},
		"linked directory above": func(a *attack) {
			a.remove("libs")
			a.link(a.outside, "libs")
		},
		"update command": func(a *attack) {
			a.append(".git/config", "[submodule \"libs/inner\"]\n\tupdate = !"+a.evil+"\n")
		},
	}
	for name, plant := range attacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAttack(t, sha)
			place := stagetest.New(t)
			spec := &stage.Spec{Dir: a.dir, Base: a.base, Sources: f.sources(sha, "recursive")}
			for i := range 2 {
				if res := place.Run(t, spec); res.Reason != stage.Success {
					t.Fatalf("result %+v, output:\n%s", res, place.Out)
				}
				if i == 0 {
					plant(a)
				}
			}
			a.check()
			checkTree(t, a.dir, sha)
			if got := stagetest.ReadFile(t, a.path("libs/inner/inner")) + stagetest.ReadFile(t, a.path("libs/inner/sub/deep/deep")); got != "11" {
				t.Errorf("submodules' files: %q", got)
			}
			git(t, a.path("libs/inner/sub/deep"), "status")
			checkNoToken(t, a.dir, place)
			a.check()
		})
	}
}

func TestSubmoduleObjectsAreKept(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	f.inner.commit(map[string]string{"big": strings.Repeat("0123456789abcdef", 1<<10), "seq": random(t, 200_000)})
	git(t, filepath.Join(f.outer.work, "libs/inner"), "pull", "-q", "origin", "main")
	sha := f.outer.commit(nil)
	place, dir := stagetest.New(t), t.TempDir()
	checkout(t, place, dir, f.sources(sha, "normal"))
	before := server.bodies.Load()
	checkout(t, place, dir, f.sources(sha, "normal"))
	if n := server.bodies.Load() - before; n > 10_000 {
		t.Errorf("%d bytes were fetched again", n)
	}
	if got := len(stagetest.ReadFile(t, filepath.Join(dir, "libs/inner/seq"))); got != 200_000 {
		t.Errorf("seq has %d bytes", got)
	}
}

// A submodule with an SSH URL of the coordinator is fetched over HTTP when that is asked for.
func TestSubmoduleForceHTTPS(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	inner, outer := server.project(t, "inner"), server.project(t, "outer")
	inner.commit(map[string]string{"inner": "1"})
	outer.commit(map[string]string{"outer": "1"})
	sha := outer.addSubmodule(inner, "inner", "git@git.invalid:inner.git")
	place, dir := stagetest.New(t), t.TempDir()
	s := outer.sources(sha)
	s.Submodules = stage.Submodules{Strategy: "normal", ForceHTTPS: true, ServerURL: server.URL, ServerHost: "git.invalid"}
	checkout(t, place, dir, s)
	if got := stagetest.ReadFile(t, filepath.Join(dir, "inner/inner")); got != "1" {
		t.Error(got)
	}
}

func TestLFS(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git-lfs"); err != nil {
		t.Fatal("this test needs git-lfs (apt-get install git-lfs)")
	}
	server := newGitServer(t)
	p := server.project(t, "large")
	content := "a large file\n"
	oid := server.storeLFS(content)
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + oid + "\nsize 13\n"
	sha := p.commit(map[string]string{"sub/.gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "sub/x.bin": pointer})
	for name, want := range map[string]string{"pull": content, "skip": pointer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, dir := stagetest.New(t), t.TempDir()
			s := p.sources(sha)
			s.LFSSkip = name == "skip"
			spec := &stage.Spec{Dir: dir, Sources: s}
			if s.LFSSkip {
				spec.Env = []stage.Var{{Key: "GIT_LFS_SKIP_SMUDGE", Value: "1"}}
			}
			if res := place.Run(t, spec); res.Reason != stage.Success {
				t.Fatalf("result %+v, output:\n%s", res, place.Out)
			}
			if got := stagetest.ReadFile(t, filepath.Join(dir, "sub/x.bin")); got != want {
				t.Errorf("got %q, want %q; output:\n%s", got, want, place.Out)
			}
			checkNoToken(t, dir, place)
		})
	}
}
