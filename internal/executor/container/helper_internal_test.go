package container

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// oneImage is an engine that has one image, or none, and counts how often it is looked for.
type oneImage struct {
	there atomic.Bool
	looks atomic.Int64
}

func (o *oneImage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/_ping"):
		w.Header().Set("Api-Version", "1.41")
	case strings.HasSuffix(path, "/version"):
		_, _ = io.WriteString(w, `{"Version":"20.10.0","ApiVersion":"1.41","Arch":"`+runtime.GOARCH+`"}`)
	case strings.HasSuffix(path, "/info"):
		_, _ = io.WriteString(w, `{}`)
	case strings.HasSuffix(path, "/images/load"):
		_, _ = io.Copy(io.Discard, r.Body)
		o.there.Store(true)
	default:
		o.looks.Add(1)
		if !o.there.Load() {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"no such image"}`)
			return
		}
		_, _ = io.WriteString(w, `{"Id":"sha256:1"}`)
	}
}

func (o *oneImage) connect(t *testing.T) *engineapi.Engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "sko") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: o, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-served })
	e, err := engineapi.Connect(t.Context(), engineapi.Address{Host: "unix://" + filepath.Join(dir, "s")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// TestHelperIsLookedForOnce wants an assembled helper image to be looked for once in a while only, and one that is
// gone to be made again.
func TestHelperIsLookedForOnce(t *testing.T) {
	t.Parallel()
	o := &oneImage{}
	engine := o.connect(t)
	h := &helpers{}
	find := func(gone bool, want int64) {
		t.Helper()
		before := o.looks.Load()
		ref, i, err := h.find(t.Context(), engine, gone, io.Discard)
		if err != nil {
			t.Skipf("this machine has nothing to assemble a helper image of: %v", err)
		}
		if i == nil || i.ID != "sha256:1" || !strings.HasPrefix(ref, "localhost/") {
			t.Errorf("found %s, %+v", ref, i)
		}
		if n := o.looks.Load() - before; n != want {
			t.Errorf("it was looked for %d times, want %d", n, want)
		}
	}
	find(false, 2) // before it is loaded, and after
	find(false, 0)
	find(true, 1) // somebody thinks that it is gone, and it is not
	h.seen = h.seen.Add(-2 * lookAgain)
	find(false, 1)
	find(false, 0)
	o.there.Store(false)
	find(true, 3) // by the name that it had, by the one that it gets, and once it is loaded
	if !o.there.Load() {
		t.Error("it was not made again")
	}
}
