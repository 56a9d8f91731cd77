package sources_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// A job plants something in its project directory; the next job gets its sources there. The
// planted thing must not run anything or learn the token then, nor when the next job uses git itself.
func TestPlanted(t *testing.T) {
	t.Parallel()
	// Each attack gets the used work tree and the path of a program that leaves a mark with git's
	// environment when it runs. A base other than "" is trusted instead of the parent of the work tree.
	attacks := map[string]func(a *attack){
		"hooks": func(a *attack) {
			for _, h := range []string{"post-checkout", "reference-transaction", "pre-auto-gc", "post-index-change"} {
				a.link(a.evil, ".git/hooks/"+h)
			}
		},
		"config with fsmonitor, filter, ssh command, helper and alias": func(a *attack) {
			a.append(".git/config", a.config())
			a.write(".git/info/attributes", "* filter=evil diff=evil\n")
		},
		"config.worktree": func(a *attack) {
			a.append(".git/config", "[extensions]\n\tworktreeConfig = true\n")
			a.write(".git/config.worktree", a.config())
		},
		"included config": func(a *attack) {
			a.write("more", a.config())
			a.append(".git/config", "[include]\n\tpath = ../more\n")
		},
		"commondir": func(a *attack) {
			a.write(".git/commondir", a.repository()+"\n")
		},
		"gitfile": func(a *attack) {
			repo := a.repository()
			a.remove(".git")
			a.write(".git", "gitdir: "+repo+"\n")
		},
		"link to a repository": func(a *attack) {
			repo := a.repository()
			a.remove(".git")
			a.link(repo, ".git")
		},
		"link as config": func(a *attack) {
			repo := a.repository()
			a.remove(".git/config")
			a.link(filepath.Join(repo, "config"), ".git/config")
		},
		"worktree": func(a *attack) {
			a.append(".git/config", "\tworktree = "+a.outside+"\n[core]\n\tworktree = "+a.outside+"\n")
		},
		"remote helper": func(a *attack) {
			a.append(".git/config", "[remote \"origin\"]\n\turl = ext::"+a.evil+"\n\tuploadpack = "+a.evil+"\n\tproxy = http://127.0.0.1:1\n")
			a.append(".git/config", "[url \"ext::"+a.evil+" \"]\n\tinsteadOf = http\n[http]\n\tproxy = http://127.0.0.1:1\n")
		},
		"nested repository": func(a *attack) {
			a.git("init", "-q", "dir")
			a.append("dir/.git/config", a.config())
		},
		"nested gitfile": func(a *attack) {
			a.write("dir/.git", "gitdir: "+a.repository()+"\n")
		},
		"index that hides a changed file": func(a *attack) {
			a.git("update-index", "--assume-unchanged", "a")
			a.git("update-index", "--skip-worktree", "dir/b")
			a.write("a", "evil\n")
			a.write("dir/b", "evil\n")
		},
		"replaced objects and grafts": func(a *attack) {
			a.write("a", "evil\n")
			blob := strings.TrimSpace(a.git("hash-object", "-w", "a"))
			a.git("replace", "HEAD:a", blob)
		},
		"references": func(a *attack) {
			a.git("tag", "v99")
			a.git("update-ref", "refs/heads/main", "HEAD")
			a.write(".git/refs/heads/broken", "ref: refs/heads/broken\n")
			a.write(".git/packed-refs", "# pack-refs with: peeled fully-peeled sorted \n"+strings.Repeat("1", 40)+" refs/heads/x\n")
		},
		"wrong HEAD": func(a *attack) {
			a.remove(".git/HEAD")
			a.link("/etc/passwd", ".git/HEAD")
		},
		"pipes": func(a *attack) {
			for _, f := range []string{".git/HEAD", ".git/shallow", ".git/packed-refs", ".git/objects/pack/x.idx"} {
				a.remove(f)
				a.pipe(f)
			}
		},
		"lock files": func(a *attack) {
			for _, f := range []string{"index", "shallow", "HEAD", "config", "packed-refs", "refs/remotes/origin/main"} {
				a.write(".git/"+f+".lock", "")
			}
		},
		"alternates": func(a *attack) {
			a.write(".git/objects/info/alternates", filepath.Join(a.repository(), "objects")+"\n")
			a.write(".git/objects/info/http-alternates", "http://127.0.0.1:1\n")
		},
		"linked objects": func(a *attack) {
			repo := a.repository()
			a.remove(".git/objects")
			a.link(filepath.Join(repo, "objects"), ".git/objects")
		},
		"linked pack directory": func(a *attack) {
			a.remove(".git/objects/pack")
			a.link(a.outside, ".git/objects/pack")
		},
		"commit graph and multi-pack index": func(a *attack) {
			a.write(".git/objects/info/commit-graph", "CGPH")
			a.write(".git/objects/pack/multi-pack-index", "MIDX")
		},
		"broken objects": func(a *attack) {
			a.remove(".git/objects/pack")
			a.write(".git/objects/pack/pack-"+strings.Repeat("a", 40)+".pack", "PACK")
			a.write(".git/objects/pack/pack-"+strings.Repeat("a", 40)+".idx", "\xfftOc")
			a.write(".git/objects/"+a.sha[:2]+"/"+a.sha[2:], "no object")
		},
		"shallow list": func(a *attack) {
			a.write(".git/shallow", strings.Repeat("x", 40)+"\n")
		},
		"modules": func(a *attack) {
			a.git("init", "-q", "--bare", ".git/modules/evil")
			a.append(".git/modules/evil/config", a.config())
		},
		"links in the work tree": func(a *attack) {
			a.remove("dir")
			a.link(a.outside, "dir")
			a.remove("a")
			a.link(filepath.Join(a.outside, "file"), "a")
		},
		"directories for files": func(a *attack) {
			a.remove("a")
			a.write("a/deep/file", "x")
			a.remove("dir")
			a.write("dir", "x")
		},
		"link for the work tree": func(a *attack) {
			repo := a.repository()
			if err := os.RemoveAll(a.dir); err != nil {
				a.t.Fatal(err)
			}
			a.link(filepath.Dir(repo), "")
		},
		"link for a directory above": func(a *attack) {
			repo := a.repository()
			group := filepath.Dir(a.dir)
			if err := os.RemoveAll(group); err != nil {
				a.t.Fatal(err)
			}
			if err := os.Rename(filepath.Dir(repo), filepath.Join(a.outside, "project")); err != nil {
				a.t.Fatal(err)
			}
			if err := os.Symlink(a.outside, group); err != nil {
				a.t.Fatal(err)
			}
		},
	}
	server := newGitServer(t)
	p := server.project(t, "group/project")
	first := p.commit(map[string]string{"a": "1\n", "dir/b": "2\n", ".gitattributes": "*.txt text\n"})
	second := p.commit(map[string]string{"c": "3\n"})
	for name, plant := range attacks {
		shas := []string{second}
		switch name { // these matter when git finds nothing to fetch, too
		case "index that hides a changed file", "broken objects", "links in the work tree", "directories for files":
			shas = append(shas, first)
		}
		for _, sha := range shas {
			t.Run(name+"/"+sha[:4], func(t *testing.T) {
				t.Parallel()
				a := newAttack(t, sha)
				place := stagetest.New(t)
				spec := &stage.Spec{Dir: a.dir, Base: a.base, Sources: p.sources(first)}
				spec.Sources.Submodules.Strategy = "recursive"
				if res := place.Run(t, spec); res.Reason != stage.Success {
					t.Fatal(res, place.Out)
				}
				plant(a)
				spec.Sources = p.sources(sha)
				spec.Sources.Submodules.Strategy = "recursive"
				if res := place.Run(t, spec); res.Reason != stage.Success {
					t.Fatalf("result %+v, output:\n%s", res, place.Out)
				}
				a.check()
				checkTree(t, a.dir, sha)
				if got := git(t, a.dir, "show", "HEAD:a"); got != "1\n" || stagetest.ReadFile(t, filepath.Join(a.dir, "a")) != got || stagetest.ReadFile(t, filepath.Join(a.dir, "dir/b")) != "2\n" {
					t.Error("the files are not the commit's")
				}
				if got := git(t, a.dir, "for-each-ref", "--format=%(refname)"); got != "refs/remotes/origin/main\n" {
					t.Errorf("references: %q", got)
				}
				checkNoToken(t, a.dir, place)
				if top := strings.TrimSpace(git(t, a.path("dir"), "rev-parse", "--show-toplevel")); top != a.dir {
					t.Errorf("git in dir works in %s", top)
				}
				git(t, a.path("dir"), "status")
				a.check() // git has been used in the work tree
			})
		}
	}
}

// A hook that runs before the sources are there finds nothing planted either, and does not cost the objects.
func TestPlantedBeforeHook(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	f := newFamily(t, server)
	sha := f.outer.commit(map[string]string{"dir/b": "2\n", "seq": random(t, 50_000)})
	for name, plant := range map[string]func(a *attack){
		"nothing":  func(*attack) {},
		"settings": func(a *attack) { a.append(".git/config", a.config()) },
		"gitfile": func(a *attack) {
			repo := a.repository()
			a.remove(".git")
			a.write(".git", "gitdir: "+repo+"\n")
		},
		"nested": func(a *attack) {
			a.git("init", "-q", "dir")
			a.append("dir/.git/config", a.config())
		},
		"module": func(a *attack) { a.append(".git/modules/libs/inner/config", a.config()) },
	} {
		for _, strategy := range []string{"fetch", "clone"} {
			t.Run(name+"/"+strategy, func(t *testing.T) {
				t.Parallel()
				a := newAttack(t, sha)
				place := stagetest.New(t)
				spec := &stage.Spec{Dir: a.dir, Base: a.base, Sources: f.sources(sha, "normal")}
				if res := place.Run(t, spec); res.Reason != stage.Success {
					t.Fatal(res, place.Out)
				}
				plant(a)
				spec.Sources.Strategy = strategy
				spec.Pre = []string{"for d in . dir libs/inner; do (cd $d && git status && git log -p || true); done"}
				if res := place.Run(t, spec); res.Reason != stage.Success {
					t.Fatalf("result %+v, output:\n%s", res, place.Out)
				}
				a.check()
				checkTree(t, a.dir, sha)
				if name == "nothing" && strategy == "fetch" && !strings.Contains(place.Out.String(), "commit "+sha) {
					t.Errorf("the hook saw no commit:\n%s", place.Out)
				}
			})
		}
	}
}
