package sources_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

const (
	testUser  = "gitlab-ci-token"
	testToken = "s3cret-t0ken"
)

// gitServer serves the repositories below root with git http-backend, for whoever knows the token.
type gitServer struct {
	*httptest.Server
	root     string
	requests atomic.Int64
	refused  atomic.Int64
	bodies   atomic.Int64 // bytes sent

	mu  sync.Mutex
	lfs map[string]string // content by object name
}

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &gitServer{root: t.TempDir()}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_PARAMETERS='safe.directory=*' 'uploadpack.allowAnySHA1InWant=true' 'uploadpack.allowFilter=true'"},
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if u, p, _ := r.BasicAuth(); u != testUser || p != testToken {
			s.refused.Add(1)
			w.Header().Set("WWW-Authenticate", `Basic realm="GitLab"`)
			http.Error(w, "HTTP Basic: Access denied", http.StatusUnauthorized)
			return
		}
		if strings.Contains(r.URL.Path, "/info/lfs/") {
			s.serveLFS(w, r)
			return
		}
		backend.ServeHTTP(&counter{w, &s.bodies}, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// storeLFS adds a large file and returns its name.
func (s *gitServer) storeLFS(content string) string {
	oid := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lfs == nil {
		s.lfs = map[string]string{}
	}
	s.lfs[oid] = content
	return oid
}

// serveLFS is the batch interface of Git LFS, and the objects themselves.
func (s *gitServer) serveLFS(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if oid, ok := strings.CutPrefix(r.URL.Path[strings.Index(r.URL.Path, "/info/lfs/"):], "/info/lfs/objects/get/"); ok {
		_, _ = io.WriteString(w, s.lfs[oid])
		return
	}
	type object struct {
		OID     string                       `json:"oid"`
		Size    int                          `json:"size"`
		Actions map[string]map[string]string `json:"actions,omitempty"`
	}
	var batch struct {
		Objects []object `json:"objects"`
	}
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for i, o := range batch.Objects {
		href := s.URL + strings.TrimSuffix(r.URL.Path, "batch") + "get/" + o.OID
		batch.Objects[i].Actions = map[string]map[string]string{"download": {"href": href}}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	_ = json.NewEncoder(w).Encode(batch)
}

// random is n letters that do not compress well.
func random(t *testing.T, n int) string {
	t.Helper()
	b := make([]byte, n/2)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

// project is a repository on the server with a work tree to commit from.
type project struct {
	t    *testing.T
	name string
	url  string
	work string
}

func (s *gitServer) project(t *testing.T, name string, initArgs ...string) *project {
	t.Helper()
	p := &project{t: t, name: name, url: s.URL + "/" + name + ".git", work: filepath.Join(t.TempDir(), "work")}
	bare := filepath.Join(s.root, name+".git")
	git(t, ".", append([]string{"init", "-q", "--bare", "-b", "main", bare}, initArgs...)...)
	git(t, ".", append([]string{"init", "-q", "-b", "main", p.work}, initArgs...)...)
	git(t, p.work, "remote", "add", "origin", bare)
	return p
}

// commit writes files (an empty content removes one), commits and pushes; it returns the commit.
func (p *project) commit(files map[string]string) string {
	p.t.Helper()
	for name, content := range files {
		path := filepath.Join(p.work, name)
		if content == "" {
			if err := os.RemoveAll(path); err != nil {
				p.t.Fatal(err)
			}
			continue
		}
		stagetest.WriteFile(p.t, path, content)
	}
	git(p.t, p.work, "add", "-A")
	git(p.t, p.work, "commit", "-q", "--allow-empty", "-m", "change")
	git(p.t, p.work, "push", "-q", "--no-verify", "origin", "HEAD:main")
	return strings.TrimSpace(git(p.t, p.work, "rev-parse", "HEAD"))
}

// git runs git by hand and returns its output.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@example.com", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_PARAMETERS='protocol.file.allow=always' 'safe.directory=*'")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// sources is what a job of p at the commit asks for.
func (p *project) sources(sha string) *stage.Sources {
	return &stage.Sources{
		Strategy: "fetch", URL: p.url, Username: testUser, Password: testToken, SHA: sha, Ref: "main",
		Refspecs: []string{"+refs/heads/main:refs/remotes/origin/main"}, Depth: 20, Checkout: true,
		CleanFlags: []string{"-ffdx"}, FetchFlags: []string{"--prune", "--quiet"}, Attempts: 1,
		Submodules: stage.Submodules{Strategy: "none"}, UserAgent: "skerry test",
	}
}

// checkout runs the stage and fails the test unless it succeeds; it returns the output.
func checkout(t *testing.T, p *stagetest.Place, dir string, s *stage.Sources) string {
	t.Helper()
	p.Out.Take()
	res := p.Run(t, &stage.Spec{ID: "get_sources", Dir: dir, Sources: s})
	if res.Reason != stage.Success {
		t.Fatalf("result %+v, output:\n%s", res, p.Out.String())
	}
	return p.Out.Take()
}
