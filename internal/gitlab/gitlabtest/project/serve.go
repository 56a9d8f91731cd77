package project

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxBody limits a chunked request body, which CGI needs whole: the haves of a fetch.
const maxBody = 64 << 20

// Server serves the repositories below a directory by git's smart HTTP protocol (git http-backend).
type Server struct {
	// Root holds the repositories as Mirror lays them out.
	Root string
	// Authorize says whether user and password may read the project ("group/name").
	Authorize func(user, password, path string) bool
	// Backend is the path of git-http-backend, see Backend.
	Backend string
	// Log gets what git writes to standard error.
	Log io.Writer
}

// Backend finds git-http-backend.
func Backend(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return "", fmt.Errorf("git --exec-path: %w; install git", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), nil
}

// ServeHTTP answers one request for /group/name.git/….
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".git/")
	if !ok || strings.Contains(path, "..") {
		http.NotFound(w, r)
		return
	}
	user, password, _ := r.BasicAuth()
	if !s.Authorize(user, password, path) {
		w.Header().Set("WWW-Authenticate", `Basic realm="GitLab"`)
		http.Error(w, "HTTP Basic: Access denied. The provided password or token is incorrect.", http.StatusUnauthorized)
		return
	}
	if r.ContentLength < 0 {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			http.Error(w, "request body: "+err.Error(), http.StatusBadRequest)
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	}
	h := cgi.Handler{
		Path: s.Backend,
		Dir:  s.Root,
		Env: []string{
			"GIT_PROJECT_ROOT=" + s.Root, "GIT_HTTP_EXPORT_ALL=1", "GIT_PROTOCOL=" + r.Header.Get("Git-Protocol"),
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
		InheritEnv: []string{"HOME", "LD_LIBRARY_PATH"},
		Stderr:     s.Log,
		Logger:     log.New(s.Log, "", 0),
	}
	h.ServeHTTP(w, r)
}
