package sources

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
)

func TestCloneArguments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"git version 2.49.0\n": true, "git version 2.49": true, "git version 3.1.2 (Apple Git-1)": true,
		"git version 2.48.9": false, "git version x.y": false, "": false} {
		if got := atLeast(text, 2, 49); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	g := repository{dir: "/d", s: &stage.Sources{URL: "https://u:p@h/x.git", Depth: 5, Ref: "refs/merge-requests/1/head", CloneFlags: []string{"--quiet"}}}
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

func TestSubmoduleOptions(t *testing.T) {
	t.Parallel()
	g := repository{s: &stage.Sources{Submodules: stage.Submodules{Strategy: "recursive", Depth: 3, Paths: []string{"a", ":(exclude)b"}, UpdateFlags: []string{"--jobs", "4"}}}}
	s := modules(g.s.Submodules)
	want := [][]string{
		{"submodule", "update", "--init", "--recursive", "--depth", "3", "--jobs", "4", "--", "a", ":(exclude)b"},
		{"submodule", "sync", "--recursive", "--", "a", ":(exclude)b"},
		{"submodule", "foreach", "--recursive"},
		{"Updating/initializing submodules recursively with git depth set to 3"},
	}
	if diff := cmp.Diff(want, [][]string{s.update(), s.sync(), s.foreach(), {s.title()}}); diff != "" {
		t.Error(diff)
	}
	g.s.Submodules = stage.Submodules{ForceHTTPS: true, ServerURL: "https://gitlab.example.com/", ServerHost: "gitlab.example.com"}
	urls := []setting{{"url.https://gitlab.example.com/.insteadOf", "git@gitlab.example.com:"}, {"url.https://gitlab.example.com.insteadOf", "ssh://git@gitlab.example.com"}}
	if diff := cmp.Diff(urls, g.rewrites(), cmp.AllowUnexported(setting{})); diff != "" {
		t.Error(diff)
	}
	g.s.Submodules.SSHHost, g.s.Submodules.SSHPort = "ssh.example.com", "2222"
	urls = []setting{{"url.https://gitlab.example.com.insteadOf", "ssh://git@ssh.example.com:2222"}}
	if diff := cmp.Diff(urls, g.rewrites(), cmp.AllowUnexported(setting{})); diff != "" {
		t.Error(diff)
	}
}
