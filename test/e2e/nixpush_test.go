package e2e

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// pushedTo is a web server that is a binary cache: it keeps what is PUT while it is up.
type pushedTo struct {
	url string

	mu   sync.Mutex
	up   bool
	have map[string][]byte
	puts int
}

func (m machine) pushedTo(t *testing.T) *pushedTo {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", m.address()+":0")
	if err != nil {
		t.Fatal(err)
	}
	c := &pushedTo{have: map[string][]byte{}}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: c}} //nolint:gosec // of a test
	s.Start()
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

// ServeHTTP implements http.Handler.
func (c *pushedTo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body) // of an unfinished request nothing is kept
	c.mu.Lock()
	defer c.mu.Unlock()
	had, there := c.have[r.URL.Path]
	switch {
	case !c.up:
		c.puts++
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Method == http.MethodPut && int64(len(raw)) == r.ContentLength:
		c.have[r.URL.Path] = raw
	case !there:
		w.WriteHeader(http.StatusNotFound)
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(had))
	}
}

func (c *pushedTo) rise() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = true
}

// asked reports whether somebody has tried to push while it was down.
func (c *pushedTo) asked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.puts > 0
}

func (c *pushedTo) has(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	hash, _, _ := strings.Cut(filepath.Base(path), "-")
	return c.have["/"+hash+".narinfo"] != nil
}

// TestNixPush kills a runner whose cache is away when its jobs are over. Another runner takes from the cache what the
// protected one of them has built; of the other there is nothing.
func TestNixPush(t *testing.T) {
	t.Parallel()
	enginetest.NixBases(t)
	onEngines(t, func(t *testing.T, m machine) {
		public, secret, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		cache := m.pushedTo(t)
		r := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}), `trust = "protected"`, fmt.Sprintf("push = %q", cache.url), `push_key_file = "cache.secret"`)
		key := filepath.Join(r.dir, "cache.secret")
		if err := os.WriteFile(key, []byte("cache:"+base64.StdEncoding.EncodeToString(secret)), 0o600); err != nil {
			t.Fatal(err)
		}
		m.own(t, key)
		r.start()
		built := func(name string, protected bool) string {
			j, log := r.wait(r.add(gitlabtest.JobSpec{Protected: protected, Script: []string{box, derivation(name, "echo "+name+" > $out"), "nix-build --no-out-link " + name + ".nix"}}))
			want(t, j, log, gitlabtest.StatusSuccess, "")
			for _, word := range strings.Fields(log) {
				if strings.HasPrefix(word, "/nix/store/") && strings.HasSuffix(word, "-"+name) {
					return word
				}
			}
			t.Fatalf("it does not say what was built:\n%s", log)
			return ""
		}
		open, closed := built("open", false), built("closed", true)
		until(t, "the cache is asked", cache.asked)
		r.kill()
		cache.rise()
		r.start()
		until(t, "what was built is pushed", func() bool { return cache.has(closed) })
		if cache.has(open) {
			t.Error("what a job of an unprotected ref has built was pushed")
		}
		other := m.nixRunner(t, m.coordinator(t, gitlabtest.Options{}), fmt.Sprintf("substituters = [%q]", cache.url),
			fmt.Sprintf("trusted_public_keys = [%q]", "cache:"+base64.StdEncoding.EncodeToString(public)))
		other.start()
		j, log := other.wait(other.add(gitlabtest.JobSpec{Script: []string{"nix-store --realise " + closed, "cat " + closed}}))
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "01O closed", "Nix: 1 substituted")
	})
}
