package sources_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
	"gitlab.com/skerry/skerry/internal/stage/worker"
)

func TestStrategies(t *testing.T) {
	t.Parallel()
	server := newGitServer(t)
	p := server.project(t, "p")
	sha := p.commit(map[string]string{"a": "1"})
	tests := map[string]struct {
		want  string // output
		files []string
	}{
		"none":  {"\x1b[32;1mSkipping Git repository setup\x1b[0;m\n\x1b[32;1mSkipping Git submodules setup\x1b[0;m\n", []string{"old"}},
		"empty": {"\x1b[32;1mSkipping Git repository setup and creating an empty build directory\x1b[0;m\n\x1b[32;1mSkipping Git submodules setup\x1b[0;m\n", nil},
		"clone": {"", []string{".git", "a"}},
		"fetch": {"", []string{".git", "a", "old"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place, dir := stagetest.New(t), t.TempDir()
			stagetest.WriteFile(t, filepath.Join(dir, "old"), "x")
			s := p.sources(sha)
			s.Strategy, s.CleanFlags = name, nil
			place.Out.Take()
			res := place.Run(t, &stage.Spec{Dir: dir, Sources: s, Pre: []string{"echo before"}, Post: []string{"echo after"}})
			if res.Reason != stage.Success {
				t.Fatal(res, place.Out)
			}
			out := place.Out.String()
			if hooks := strings.Contains(out, "\nbefore\n") && strings.HasSuffix(out, "\nafter\n"); hooks != (name == "fetch" || name == "clone") {
				t.Errorf("hooks in the output: %v: %q", hooks, out)
			}
			if tt.want != "" && tt.want != out {
				t.Errorf("output %q, want %q", out, tt.want)
			}
			var files []string
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				files = append(files, e.Name())
			}
			if diff := cmp.Diff(tt.files, files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownStrategy(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*stage.Sources){
		"GIT_STRATEGY":           func(s *stage.Sources) { s.Strategy = "pull" },
		"GIT_SUBMODULE_STRATEGY": func(s *stage.Sources) { s.Submodules.Strategy = "some" },
		"is not a commit":        func(s *stage.Sources) { s.SHA = "--upload-pack=x" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newGitServer(t).project(t, "p")
			s := p.sources(p.commit(nil))
			change(s)
			res := stagetest.New(t).Run(t, &stage.Spec{Dir: t.TempDir(), Sources: s})
			if res.Reason != stage.System || !strings.Contains(res.Message, name) {
				t.Errorf("result %+v", res)
			}
		})
	}
}

func TestWithoutGit(t *testing.T) {
	t.Parallel()
	place := stagetest.New(t)
	place.Git = ""
	res := place.Run(t, &stage.Spec{Dir: t.TempDir(), Sources: &stage.Sources{Strategy: "fetch"}})
	if res.Reason != stage.System || !strings.Contains(res.Message, "no git") {
		t.Errorf("result %+v", res)
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	var sha string
	for _, v := range []string{"1", "2", "3", "4"} {
		sha = p.commit(map[string]string{"a": v})
	}
	place, dir := stagetest.New(t), t.TempDir()
	for _, step := range []struct {
		depth int
		want  string
		line  string
	}{{1, "1\n", "Fetching changes with git depth set to 1..."}, {3, "3\n", "depth set to 3..."}, {0, "4\n", "Fetching changes..."}, {0, "4\n", ""}, {2, "2\n", ""}} {
		s := p.sources(sha)
		s.Depth = step.depth
		out := checkout(t, place, dir, s)
		if got := git(t, dir, "rev-list", "--count", "HEAD"); got != step.want || !strings.Contains(out, step.line) {
			t.Errorf("depth %d: %s commits, want %s; output %q", step.depth, got, step.want, out)
		}
	}
}

// Files that git clean is told to leave stay, unchanged ones keep their times, and what the new commit
// has no more goes.
func TestPartialClean(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"none": nil, "exclude": {"-ffdx", "-e", "build/"}, "no ignored": {"-ffd"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newGitServer(t).project(t, "p")
			sha := p.commit(map[string]string{"same": "1", "changed": "1", "tampered": "1", "gone/x": "1", ".gitignore": "build/\n"})
			place, dir := stagetest.New(t), t.TempDir()
			checkout(t, place, dir, p.sources(sha))
			old := time.Unix(1_000_000_000, 0)
			if err := os.Chtimes(filepath.Join(dir, "same"), old, old); err != nil {
				t.Fatal(err)
			}
			stagetest.WriteFile(t, filepath.Join(dir, "build", "x.o"), "x")
			stagetest.WriteFile(t, filepath.Join(dir, "tampered"), "2")
			sha = p.commit(map[string]string{"changed": "2", "gone": ""})
			s := p.sources(sha)
			s.CleanFlags = flags
			checkout(t, place, dir, s)
			if st, err := os.Stat(filepath.Join(dir, "same")); err != nil || !st.ModTime().Equal(old) {
				t.Errorf("an unchanged file was written: %v", err)
			}
			if got := stagetest.ReadFile(t, filepath.Join(dir, "changed")) + stagetest.ReadFile(t, filepath.Join(dir, "tampered")) + stagetest.ReadFile(t, filepath.Join(dir, "build/x.o")); got != "21x" {
				t.Errorf("files: %q", got)
			}
			if _, err := os.Lstat(filepath.Join(dir, "gone")); err == nil {
				t.Error("a file that is in the commit no more is still there")
			}
		})
	}
}

func TestNoCheckout(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	first := p.commit(map[string]string{"a": "1"})
	place, dir := stagetest.New(t), t.TempDir()
	checkout(t, place, dir, p.sources(first))
	second := p.commit(map[string]string{"a": "2"})
	s := p.sources(second)
	s.Checkout = false
	if out := checkout(t, place, dir, s); !strings.Contains(out, "\x1b[32;1mSkipping Git checkout\x1b[0;m\n") {
		t.Errorf("output %q", out)
	}
	checkTree(t, dir, first)
	git(t, dir, "checkout", "-q", second)
	checkTree(t, dir, second)
}

// A repository that cannot be used is made anew without costing an attempt.
func TestBrokenRepository(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	sha := p.commit(map[string]string{"a": "1", "dir/b": "2"})
	place, dir := stagetest.New(t), t.TempDir()
	checkout(t, place, dir, p.sources(sha))
	tree := strings.TrimSpace(git(t, dir, "rev-parse", "HEAD:dir"))
	loosen(t, dir)
	if err := os.Remove(filepath.Join(dir, ".git/objects", tree[:2], tree[2:])); err != nil {
		t.Fatal(err)
	}
	out := checkout(t, place, dir, p.sources(sha))
	if !strings.Contains(out, "starting with an empty one") {
		t.Errorf("output %q", out)
	}
	checkTree(t, dir, sha)
}

// loosen turns the packs of a repository into loose objects.
func loosen(t *testing.T, dir string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatal("no packs", err)
	}
	away := t.TempDir()
	for _, pack := range packs {
		to := filepath.Join(away, filepath.Base(pack))
		for _, name := range []string{pack, strings.TrimSuffix(pack, "pack") + "idx", strings.TrimSuffix(pack, "pack") + "rev"} {
			if err := os.Rename(name, filepath.Join(away, filepath.Base(name))); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		stagetest.WriteFile(t, filepath.Join(dir, "x.sh"), "git unpack-objects -q <"+to)
		place := stagetest.New(t)
		if res := place.Run(t, &stage.Spec{Dir: dir, Script: &stage.Script{Lines: []string{"sh x.sh; rm x.sh"}, Umask: -1}}); res.Reason != stage.Success {
			t.Fatal(res, place.Out)
		}
	}
}

// flaky answers the first n requests with 500.
func flaky(s *gitServer, n int64) {
	next := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.requests.Load() < n {
			s.requests.Add(1)
			http.Error(w, "down for maintenance", http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		attempts int
		want     stage.Reason
	}{"one": {1, stage.Failed}, "two": {2, stage.Success}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newGitServer(t)
			p := server.project(t, "p")
			s := p.sources(p.commit(map[string]string{"a": "1"}))
			s.Attempts = tt.attempts
			flaky(server, 1)
			place, dir := stagetest.New(t), t.TempDir()
			stagetest.WriteFile(t, filepath.Join(dir, "junk"), "x")
			res := place.Run(t, &stage.Spec{Dir: dir, Sources: s})
			if res.Reason != tt.want || res.Reason == stage.Failed && res.ExitCode != 128 {
				t.Errorf("result %+v, output %s", res, place.Out)
			}
			if cleared := strings.Contains(place.Out.String(), "Deleting tracked and untracked files..."); cleared != (tt.attempts > 1) {
				t.Errorf("output %s", place.Out)
			}
		})
	}
}

func TestSourcesTimeout(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]time.Duration{"attempt": 200 * time.Millisecond, "cancelled": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newGitServer(t)
			p := server.project(t, "p")
			s := p.sources(p.commit(nil))
			s.Timeout = limit
			asked, release := make(chan struct{}, 9), make(chan struct{})
			server.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				select {
				case <-release:
				case <-r.Context().Done():
				}
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan stage.Result)
			place := stagetest.New(t)
			go func() {
				done <- worker.Run(ctx, place.Place, &stage.Spec{Dir: t.TempDir(), Grace: time.Second, Sources: s})
			}()
			want := stage.Timeout
			if limit == 0 { // of a short time nobody knows whether git has come so far
				<-asked
				cancel(errors.New("stop"))
				want = stage.Canceled
			}
			if res := <-done; res.Reason != want {
				t.Errorf("result %+v", res)
			}
			close(release)
			cancel(nil)
		})
	}
}

// A blobless clone stays usable, and its objects are not taken for whole ones later.
func TestPartialClone(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	sha := p.commit(map[string]string{"a": "1", "b": "2"})
	place, dir := stagetest.New(t), t.TempDir()
	for _, filter := range []bool{true, true, false} {
		s := p.sources(sha)
		if filter {
			s.FetchFlags = append(s.FetchFlags, "--filter=blob:none")
		}
		checkout(t, place, dir, s)
		if got := stagetest.ReadFile(t, filepath.Join(dir, "b")); got != "2" {
			t.Error(got)
		}
		sha = p.commit(map[string]string{"a": sha})
	}
	git(t, dir, "fsck")
}

// What git traces of itself does not show the credentials.
func TestTracesHideCredentials(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	s := p.sources(p.commit(map[string]string{"a": "1"}))
	place, dir := stagetest.New(t), t.TempDir()
	var env []stage.Var
	for _, k := range []string{"GIT_TRACE", "GIT_TRACE_CURL", "GIT_CURL_VERBOSE", "GIT_TRACE2", "GIT_TRACE_SETUP", "GIT_TRACE_PACKET"} {
		env = append(env, stage.Var{Key: k, Value: "1"})
	}
	env = append(env, stage.Var{Key: "GIT_TRACE_REDACT", Value: "0"}, stage.Var{Key: "GIT_TRACE2_CONFIG_PARAMS", Value: "http.*,credential.*"},
		stage.Var{Key: "GIT_TRACE2_ENV_VARS", Value: "SKERRY_GIT_PASSWORD,GIT_CONFIG_PARAMETERS"})
	if res := place.Run(t, &stage.Spec{Dir: dir, Env: env, Sources: s}); res.Reason != stage.Success {
		t.Fatal(res, place.Out)
	}
	out := place.Out.String()
	if !strings.Contains(out, "Authorization: Basic <redacted>") || strings.Contains(out, "Z2l0bGFi") {
		t.Errorf("the output shows the credentials, or there was no trace:\n%s", out)
	}
	checkNoToken(t, dir, place)
}

// What an earlier job left stays when the server is at fault, and the job ends with the server's error.
func TestServerAtFault(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *gitServer, src *stage.Sources){
		"down":        func(s *gitServer, _ *stage.Sources) { flaky(s, 1000) },
		"wrong token": func(_ *gitServer, src *stage.Sources) { src.Password = "wrong" },
		"branch gone": func(_ *gitServer, src *stage.Sources) {
			src.Refspecs = []string{"+refs/heads/gone:refs/remotes/origin/gone"}
		},
		"unknown host": func(_ *gitServer, src *stage.Sources) { src.URL = "http://127.0.0.1:1/p.git" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newGitServer(t)
			p := server.project(t, "p")
			place, dir := stagetest.New(t), t.TempDir()
			sha := p.commit(map[string]string{"a": "1"})
			checkout(t, place, dir, p.sources(sha))
			s := p.sources(sha)
			change(server, s)
			if res := place.Run(t, &stage.Spec{Dir: dir, Sources: s}); res.Reason != stage.Failed || res.ExitCode != 128 {
				t.Errorf("result %+v", res)
			}
			if out := place.Out.String(); strings.Contains(out, "starting with an empty one") {
				t.Errorf("output %q", out)
			}
			if got := stagetest.ReadFile(t, filepath.Join(dir, "a")); got != "1" {
				t.Errorf("a: %q", got)
			}
		})
	}
}

// A commit that the branch no longer has is named in the message.
func TestCommitGone(t *testing.T) {
	t.Parallel()
	p := newGitServer(t).project(t, "p")
	p.commit(map[string]string{"a": "1"})
	s := p.sources(strings.Repeat("1", 40))
	res := stagetest.New(t).Run(t, &stage.Spec{Dir: t.TempDir(), Sources: s})
	if res.Reason != stage.Failed || res.ExitCode != 128 || !strings.Contains(res.Message, "commit "+s.SHA+" is not in what was fetched of main") {
		t.Errorf("result %+v", res)
	}
}
