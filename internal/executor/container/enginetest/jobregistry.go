package enginetest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// NewJobRegistry starts a registry that jobs can reach, until the test ends: without TLS, and for a user with a password alone,
// who may read and write all of it.
func NewJobRegistry(t *testing.T, user, password string) *Registry {
	t.Helper()
	address := os.Getenv(AddressVariable)
	if address == "" {
		t.Skipf("no address of this machine that containers reach: set %s", AddressVariable)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	r := &Registry{Host: l.Addr().String(), store: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if name, word, ok := q.BasicAuth(); !ok || name != user || word != password {
			w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		r.store.ServeHTTP(w, q)
	}))
	_ = r.server.Listener.Close()
	r.server.Listener = l
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.server.Start()
	t.Cleanup(r.server.Close)
	return r
}

// Files are those of an image, REPOSITORY:TAG, that somebody has pushed, by their paths.
func (r *Registry) Files(t *testing.T, image string) map[string]*tar.Header {
	t.Helper()
	repository, tag, _ := strings.Cut(image, ":")
	manifest, err := v1.ParseManifest(bytes.NewReader(r.get(t, "/v2/"+repository+"/manifests/"+tag)))
	if err != nil {
		t.Fatal(err)
	}
	img := empty.Image
	for _, l := range manifest.Layers {
		blob := r.get(t, "/v2/"+repository+"/blobs/"+l.Digest.String())
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil })
		if err == nil {
			img, err = mutate.AppendLayers(img, layer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	body := mutate.Extract(img)
	defer body.Close()
	files := map[string]*tar.Header{}
	for in := tar.NewReader(body); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files["/"+strings.Trim(strings.TrimPrefix(h.Name, "./"), "/")] = h
	}
}

func (r *Registry) get(t *testing.T, path string) []byte {
	t.Helper()
	q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	w := httptest.NewRecorder()
	r.store.ServeHTTP(w, q)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}
