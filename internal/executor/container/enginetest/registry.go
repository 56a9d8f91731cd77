package enginetest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// Registry is a private registry on this machine, with tokens as GitLab's has. Docker reaches it without
// TLS, which it allows for the loopback; for Podman its certificate is put where Podman looks.
type Registry struct {
	Host string // "127.0.0.1:41234"

	server *httptest.Server
	store  http.Handler

	mu     sync.Mutex
	reads  map[string]map[string]bool // user ("" for none): repositories
	users  map[string]string
	asked  []string // "METHOD /path" of manifests
	broken int      // a status for every request
	hold   func(*http.Request)
}

// NewRegistry starts a registry for an engine until the test ends.
func NewRegistry(t *testing.T, e Engine) *Registry {
	t.Helper()
	r := &Registry{
		store: registry.New(registry.Logger(log.New(io.Discard, "", 0))),
		reads: map[string]map[string]bool{}, users: map[string]string{},
	}
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	r.keepPort(t)
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(r.server.Close)
	if e.Name == "docker" {
		r.server.Start()
		r.Host = strings.TrimPrefix(r.server.URL, "http://")
		return r
	}
	r.server.StartTLS()
	r.Host = strings.TrimPrefix(r.server.URL, "https://")
	r.trust(t)
	return r
}

// keepPort has the registry listen at a port that nobody else gets before the test ends: what is closed is to refuse connections, and
// not to be another test's server.
func (r *Registry) keepPort(t *testing.T) {
	t.Helper()
	_ = r.server.Listener.Close()
	shared := func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	address := "127.0.0.1:0"
	if err = errors.Join(shared(fd), unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})); err == nil {
		var at unix.Sockaddr
		if at, err = unix.Getsockname(fd); err == nil {
			address = fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port) //nolint:forcetypeassert // of this family
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	l := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = shared(int(fd)) }), err)
	}}
	if r.server.Listener, err = l.Listen(t.Context(), "tcp", address); err != nil {
		t.Fatal(err)
	}
}

// trust puts the certificate where Podman looks for those of one registry.
func (r *Registry) trust(t *testing.T) {
	t.Helper()
	dir := "/etc/containers/certs.d"
	if os.Getuid() != 0 {
		dir = filepath.Join(os.Getenv("HOME"), ".config/containers/certs.d")
	}
	dir = filepath.Join(dir, r.Host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), cert, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Allow lets a user ("" for anybody) read a repository.
func (r *Registry) Allow(user, password, repository string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reads[user] == nil {
		r.reads[user] = map[string]bool{}
	}
	r.users[user], r.reads[user][repository] = password, true
}

// Forbid takes it back.
func (r *Registry) Forbid(user, repository string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reads[user], repository)
}

// Break answers every request with a status; 0 mends it.
func (r *Registry) Break(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = status
}

// Hold calls wait when each blob has begun to be served.
func (r *Registry) Hold(wait func(q *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = wait
}

// heldWriter stops after the beginning of an answer.
type heldWriter struct {
	http.ResponseWriter

	wait func()
}

func (h *heldWriter) Write(p []byte) (int, error) {
	n := 0
	if h.wait != nil && len(p) > 0 {
		first := min(len(p), 1024)
		var err error
		if n, err = h.ResponseWriter.Write(p[:first]); err != nil {
			return n, err
		}
		h.ResponseWriter.(http.Flusher).Flush()
		h.wait()
		h.wait = nil
	}
	m, err := h.ResponseWriter.Write(p[n:])
	return n + m, err
}

// Close ends the registry: connections are refused from then on.
func (r *Registry) Close() {
	r.server.CloseClientConnections()
	r.server.Close()
}

// Asked returns the requests for manifests since the last call.
func (r *Registry) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

var manifests = regexp.MustCompile(`^/v2/(.+)/(?:manifests|blobs)/`)

func (r *Registry) serve(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	broken, hold := r.broken, r.hold
	r.mu.Unlock()
	switch {
	case broken != 0:
		http.Error(w, "broken on purpose", broken)
	case q.URL.Path == "/token":
		r.token(w, q)
	case q.URL.Path == "/v2/":
		r.challenge(w, "")
	default:
		m := manifests.FindStringSubmatch(q.URL.Path)
		if m == nil || q.Method != http.MethodGet && q.Method != http.MethodHead || !r.may(q, m[1]) {
			repository := ""
			if m != nil {
				repository = m[1]
			}
			r.challenge(w, repository)
			return
		}
		if strings.Contains(q.URL.Path, "/manifests/") {
			r.mu.Lock()
			r.asked = append(r.asked, q.Method+" "+q.URL.Path)
			r.mu.Unlock()
		}
		if strings.Contains(q.URL.Path, "/blobs/") && hold != nil {
			w = &heldWriter{ResponseWriter: w, wait: func() { hold(q) }}
		}
		r.store.ServeHTTP(w, q)
	}
}

func (r *Registry) challenge(w http.ResponseWriter, repository string) {
	c := fmt.Sprintf("Bearer realm=%q,service=%q", r.server.URL+"/token", r.Host)
	if repository != "" {
		c += fmt.Sprintf(",scope=%q", "repository:"+repository+":pull")
	}
	w.Header().Set("Www-Authenticate", c)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
}

// token gives whoever has the right password a token that says who it is.
func (r *Registry) token(w http.ResponseWriter, q *http.Request) {
	user, password, given := q.BasicAuth()
	r.mu.Lock()
	right := !given || user != "" && r.users[user] == password && password != ""
	r.mu.Unlock()
	if !right {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"HTTP Basic: Access denied"}]}`, http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"token": base64.RawURLEncoding.EncodeToString([]byte("user:" + user))})
}

func (r *Registry) may(q *http.Request, repository string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer "))
	user, ok := strings.CutPrefix(string(raw), "user:")
	if err != nil || !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads[user][repository] || r.reads[""][repository]
}

// Push gives the registry an image, as REPOSITORY:TAG of i.Name, and returns its digest.
func (r *Registry) Push(t *testing.T, i Image) string {
	t.Helper()
	img, err := build(i)
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.MediaType(img, types.DockerManifestSchema2)
	if i.Arch != "" {
		img = otherArch(t, img, i.Arch)
	}
	repository, tag, _ := strings.Cut(i.Name, ":")
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		body, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		r.put(t, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+d.String(), "", body)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	name, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	r.put(t, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+name.String(), "", bytes.NewReader(config))
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	media, err := img.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	r.put(t, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, string(media), bytes.NewReader(manifest))
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func otherArch(t *testing.T, img v1.Image, arch string) v1.Image {
	t.Helper()
	f, err := img.ConfigFile()
	if err == nil {
		f = f.DeepCopy()
		f.Architecture = arch
		img, err = mutate.ConfigFile(img, f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func (r *Registry) put(t *testing.T, method, path, media string, body io.Reader) {
	t.Helper()
	q := httptest.NewRequestWithContext(t.Context(), method, path, body)
	if media != "" {
		q.Header.Set("Content-Type", media)
	}
	w := httptest.NewRecorder()
	r.store.ServeHTTP(w, q)
	if w.Code/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}
