package nixpush_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixopt"
	"gitlab.com/skerry/skerry/internal/nixstore/nixpush"
)

// objects is a server that keeps what is PUT.
type objects struct {
	prefix string
	may    func(r *http.Request) int // 0: yes

	mu   sync.Mutex
	have map[string][]byte
}

// ServeHTTP implements http.Handler.
func (s *objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ours := strings.CutPrefix(r.URL.Path, s.prefix)
	if code := s.may(r); code != 0 || !ours {
		w.WriteHeader(max(code, http.StatusBadRequest))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPut {
		raw, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(raw)) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.have[name] = raw
		w.Header().Set("ETag", `"x"`)
		return
	}
	raw, there := s.have[name]
	if !there {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Last-Modified", "Thu, 26 Nov 2026 10:00:00 GMT")
	w.Header().Set("ETag", `"x"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
}

// directory writes what it has where Nix can read it.
func (s *objects) directory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range s.have {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPut(t *testing.T) {
	t.Parallel()
	s := &objects{prefix: "/cache/", have: map[string][]byte{}, may: func(r *http.Request) int {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			return http.StatusUnauthorized
		}
		return 0
	}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	f, paths := chain(5)
	push := func(netrc string) (nixpush.Done, error) {
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, ".netrc"), []byte(netrc), 0o600); err != nil {
			t.Fatal(err)
		}
		to, err := nixopt.ParsePush(server.URL + "/cache/")
		if err != nil {
			t.Fatal(err)
		}
		c, err := nixpush.Open(to, func(name string) string { return map[string]string{"HOME": home}[name] })
		if err != nil {
			t.Fatal(err)
		}
		return (&nixpush.Pusher{Cache: c, Key: newKey(t, "k")}).Push(t.Context(), f, paths)
	}
	if _, err := push("machine other login me password secret\n"); err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "NETRC") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	if done, err := push("# mine\nmachine 127.0.0.1\n\tlogin me password secret\ndefault login x password y\n"); err != nil || done.Paths != len(paths) {
		t.Errorf("%+v, %v", done, err)
	}
	if n := whole(t, s.directory(t)); n != len(paths) {
		t.Errorf("%d paths came", n)
	}
}

// TestPutSomewhereElse has a server send what is PUT to the page of a login, which answers everybody: nothing was taken. Where a
// redirect leaves the request as it is it is followed.
func TestPutSomewhereElse(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]bool{http.StatusFound: false, http.StatusSeeOther: false, http.StatusTemporaryRedirect: true} {
		s := &objects{prefix: "/cache/", have: map[string][]byte{}, may: func(*http.Request) int { return 0 }}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch there, moved := strings.CutPrefix(r.URL.Path, "/moved/"); {
			case code != http.StatusTemporaryRedirect && r.Method == http.MethodPut:
				http.Redirect(w, r, "/login", code)
			case r.URL.Path == "/login":
				w.WriteHeader(http.StatusOK)
			case moved:
				http.Redirect(w, r, "/cache/"+there, code)
			default:
				s.ServeHTTP(w, r)
			}
		}))
		t.Cleanup(server.Close)
		f, paths := chain(2)
		base := server.URL + "/cache"
		if want {
			base = server.URL + "/moved"
		}
		done, err := (&nixpush.Pusher{Cache: open(t, base), Key: newKey(t, "k")}).Push(t.Context(), f, paths)
		if (err == nil) != want || want && (done.Paths != len(paths) || whole(t, s.directory(t)) != len(paths)) {
			t.Errorf("%d: %+v, %v", code, done, err)
		}
	}
}

// bucket is a server that speaks as much of S3 as pushing takes, and checks every signature.
func bucket(t *testing.T) (*objects, *httptest.Server) {
	t.Helper()
	s := &objects{prefix: "/nix-cache/", have: map[string][]byte{}}
	s.may = func(r *http.Request) int {
		if !signed(r, "eu-test-1", "KEYID", "SECRET") {
			return http.StatusForbidden
		}
		if want := r.Header.Get("Content-Md5"); r.Method == http.MethodPut && want == "" {
			return http.StatusBadRequest
		}
		return 0
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server
}

// signed checks a request's signature. Source: Amazon's documentation, "Signature Version 4 for API requests".
func signed(r *http.Request, region, id, secret string) bool {
	auth, _ := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	parts := map[string]string{}
	for part := range strings.SplitSeq(auth, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[k] = v
	}
	date := r.Header.Get("X-Amz-Date")
	if len(date) < 8 {
		return false
	}
	scope := date[:8] + "/" + region + "/s3/aws4_request"
	if parts["Credential"] != id+"/"+scope {
		return false
	}
	var headers strings.Builder
	for name := range strings.SplitSeq(parts["SignedHeaders"], ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	request := strings.Join([]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, headers.String(), parts["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256")}, "\n")
	sum := sha256.Sum256([]byte(request))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", date, scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(scope, "/"), text) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return hmac.Equal([]byte(hex.EncodeToString(key)), []byte(parts["Signature"]))
}

func TestS3(t *testing.T) {
	s, server := bucket(t)
	home := t.TempDir()
	credentials := filepath.Join(home, "credentials")
	if err := os.WriteFile(credentials, []byte("[default]\naws_access_key_id = no\naws_secret_access_key = no\n[cache]\naws_access_key_id = KEYID\naws_secret_access_key = SECRET\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", credentials)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	f, paths := chain(5)
	push := func(more string) (nixpush.Done, error) {
		c := open(t, "s3://nix-cache?region=eu-test-1&endpoint="+server.URL+more)
		return (&nixpush.Pusher{Cache: c, Key: newKey(t, "k")}).Push(t.Context(), f, paths)
	}
	if _, err := push(""); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("another's login was taken: %v", err)
	}
	if done, err := push("&profile=cache"); err != nil || done.Paths != len(paths) {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := push("&profile=cache"); err != nil || done.Paths != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if n := whole(t, s.directory(t)); n != len(paths) {
		t.Errorf("%d paths came", n)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "KEYID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
	s.mu.Lock()
	clear(s.have)
	s.mu.Unlock()
	if done, err := push(""); err != nil || done.Paths != len(paths) {
		t.Errorf("%+v, %v", done, err)
	}
}
