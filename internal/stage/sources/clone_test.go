package sources_test

import (
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// What FF_USE_GIT_NATIVE_CLONE makes is as good as what fetch makes. Git older than 2.49 fetches.
func TestNativeClone(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	p := server.project(t, "group/project")
	p.commit(map[string]string{"a": "0"})
	sha := p.commit(map[string]string{"a": "1", "dir/b": "2"})
	bare := filepath.Join(server.root, p.name+".git")
	for _, ref := range []string{"refs/merge-requests/1/head", "refs/pipelines/7", "refs/tags/v1.0", "refs/heads/it's/odd-ünı"} {
		git(t, bare, "update-ref", ref, sha)
	}
	moved := server.project(t, "group/moved")
	old := moved.commit(map[string]string{"a": "1", "dir/b": "2"})
	moved.commit(map[string]string{"a": "9"})
	git(t, filepath.Join(server.root, moved.name+".git"), "update-ref", "refs/pipelines/7", old)
	version := git(t, ".", "version")
	native := !strings.HasPrefix(version, "git version 2.3") && !strings.HasPrefix(version, "git version 2.4") || strings.HasPrefix(version, "git version 2.49")

	tests := map[string]struct {
		p     *project
		sha   string
		ref   string
		depth int
		flags []string
	}{
		"branch":         {p, sha, "main", 0, nil},
		"shallow branch": {p, sha, "main", 1, nil},
		"odd branch":     {p, sha, "it's/odd-ünı", 1, nil},
		"tag":            {p, sha, "v1.0", 5, nil},
		"merge request":  {p, sha, "refs/merge-requests/1/head", 5, nil},
		"blobless":       {p, sha, "main", 0, []string{"--filter=blob:none"}},
		"setting":        {p, sha, "main", 0, []string{"-c", "user.name=somebody", "--no-tags"}},
		"moved branch":   {moved, old, "main", 1, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, dir := stagetest.New(t), filepath.Join(t.TempDir(), "a b")
			stagetest.WriteFile(t, filepath.Join(dir, ".git"), "gitdir: /nowhere\n")
			s := tt.p.sources(tt.sha)
			s.Strategy, s.NativeClone, s.Ref, s.Depth, s.CloneFlags = "clone", true, tt.ref, tt.depth, tt.flags
			s.Refspecs = []string{"+refs/pipelines/7:refs/pipelines/7"}
			out := checkout(t, place, dir, s)
			if strings.Contains(out, "Cloning repository for "+tt.ref) != native {
				t.Errorf("%s, output:\n%s", version, out)
			}
			if got := strings.TrimSpace(git(t, dir, "rev-parse", "HEAD")); got != tt.sha {
				t.Errorf("HEAD is %s", got)
			}
			if got := stagetest.ReadFile(t, filepath.Join(dir, "dir/b")) + git(t, dir, "status", "--porcelain"); got != "2" {
				t.Errorf("dir/b and status: %q", got)
			}
			if native && name == "setting" {
				if got := git(t, dir, "config", "user.name"); got != "somebody\n" {
					t.Errorf("user.name: %q", got)
				}
			}
			env := []stage.Var{{Key: "CI_JOB_TOKEN", Value: testToken}}
			script := &stage.Script{Umask: -1, Lines: []string{"git fetch -q origin", "git log -p | cat"}}
			if res := place.Run(t, &stage.Spec{Dir: dir, Env: env, Script: script}); res.Reason != stage.Success {
				t.Errorf("result %+v, output:\n%s", res, place.Out)
			}
			checkNoToken(t, dir, place)
			// The next job fetches over it.
			checkout(t, place, dir, tt.p.sources(tt.sha))
			checkTree(t, dir, tt.sha)
		})
	}
}
