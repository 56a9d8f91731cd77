package sources_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			server := newGitServer(t)
			p := server.project(t, "group/project", "--object-format="+format)
			sha := p.commit(map[string]string{"a": "1", "dir/b": "2", "gone": "x", ".gitignore": "*.o\n"})
			place, dir := stagetest.New(t), filepath.Join(t.TempDir(), "it's a -dir\nof two \"lines\"", "-p")
			s := p.sources(sha)
			s.ObjectFormat = format
			want := "\x1b[32;1mFetching changes with git depth set to 20...\x1b[0;m\nInitialized empty Git repository in " + dir + "/.git/\n" +
				"\x1b[32;1mCreated fresh repository.\x1b[0;m\n\x1b[32;1mChecking out " + sha[:8] + " as detached HEAD (ref is main)...\x1b[0;m\n" + lfsLine() +
				"\x1b[32;1mSkipping Git submodules setup\x1b[0;m\n"
			if diff := cmp.Diff(want, checkout(t, place, dir, s)); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			checkTree(t, dir, sha)

			// The second job: a new commit over a work tree that the first one used.
			stagetest.WriteFile(t, filepath.Join(dir, "junk", "x.o"), "x")
			stagetest.WriteFile(t, filepath.Join(dir, "a"), "changed")
			sha = p.commit(map[string]string{"a": "3", "gone": ""})
			s = p.sources(sha)
			s.ObjectFormat = format
			before := server.bodies.Load()
			want = "\x1b[32;1mFetching changes with git depth set to 20...\x1b[0;m\nReinitialized existing Git repository in " + dir + "/.git/\n" +
				"\x1b[32;1mChecking out " + sha[:8] + " as detached HEAD (ref is main)...\x1b[0;m\nRemoving junk/\n" + lfsLine() +
				"\x1b[32;1mSkipping Git submodules setup\x1b[0;m\n"
			if diff := cmp.Diff(want, checkout(t, place, dir, s)); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			checkTree(t, dir, sha)
			if n := server.bodies.Load() - before; n > 2000 {
				t.Errorf("%d bytes were fetched although most objects were there", n)
			}
			if server.refused.Load() > 0 {
				t.Errorf("%d of %d requests had no credentials", server.refused.Load(), server.requests.Load())
			}
			checkNoToken(t, dir, place)
		})
	}
}

// lfsLine is what the stage adds to the log where git-lfs is installed.
func lfsLine() string {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		return ""
	}
	return "\n"
}

// checkTree checks that dir is a whole work tree at the commit, with nothing else in it.
func checkTree(t *testing.T, dir, sha string) {
	t.Helper()
	if got := strings.TrimSpace(git(t, dir, "rev-parse", "HEAD")); got != sha {
		t.Errorf("HEAD is %s, want %s", got, sha)
	}
	if got := git(t, dir, "status", "--porcelain", "--ignored"); got != "" {
		t.Errorf("git status: %q", got)
	}
	if got := git(t, dir, "for-each-ref", "refs/skerry"); got != "" {
		t.Errorf("left behind: %s", got)
	}
	git(t, dir, "fsck", "--strict")
}

// checkNoToken looks for the token in every file below dir and in every command line.
func checkNoToken(t *testing.T, dir string, place *stagetest.Place) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), testToken) || strings.Contains(string(b), "Basic ") {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, c := range place.Commands {
		if strings.Contains(strings.Join(c.Args, " "), testToken) {
			t.Errorf("the token is in an argument: %q", c.Args)
		}
	}
	if strings.Contains(place.Out.String(), testToken) {
		t.Error("the token is in the log")
	}
}

func TestFetchProcesses(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	p := server.project(t, "p")
	sha := p.commit(map[string]string{"a": "1"})
	place, dir := stagetest.New(t), t.TempDir()
	for _, junk := range []bool{false, false, true} {
		place.Commands = nil
		want := []string{"fetch", "checkout"}
		if junk {
			stagetest.WriteFile(t, filepath.Join(dir, "junk"), "x")
			want = append(want, "clean")
		}
		checkout(t, place, dir, p.sources(sha))
		var got []string
		for _, c := range place.Commands {
			got = append(got, c.Args[1])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("processes (-want +got):\n%s", diff)
		}
	}
}

func TestWrongToken(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	p := server.project(t, "p")
	s := p.sources(p.commit(map[string]string{"a": "1"}))
	s.Password = "wrong-token"
	place := stagetest.New(t)
	res := place.Run(t, &stage.Spec{Dir: t.TempDir(), Sources: s})
	if res.Reason != stage.Failed || res.ExitCode != 128 || !strings.Contains(place.Out.String(), "Authentication failed") {
		t.Errorf("result %+v, output %s", res, place.Out.String())
	}
	if strings.Contains(place.Out.String(), "wrong-token") {
		t.Error("the token is in the log")
	}
}
