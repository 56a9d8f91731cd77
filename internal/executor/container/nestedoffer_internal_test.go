package container

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/image"
)

// TestEnginesThatCopyImages have nothing but the store, whose volume holds their files as well, and are believed only if they end by themselves.
func TestEnginesThatCopyImages(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	e.o.VolumesFrom = []string{"donor"}
	for which, code := range map[string]int{partReader: 137, partMaker: 0} {
		v := draws(t, e)
		v.b.Nested.ImageID = "sha256:1"
		view, err := v.startCopier(t.Context(), which, "store", "", &nested.Bound{Bytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		c := f.get(view.b.Nested.Name)
		if h := c.made; h.NetworkMode != "none" || len(h.VolumesFrom) > 0 || !slices.Contains(c.env, "TMPDIR="+image.NestedStore) {
			t.Errorf("the network is %q, volumes_from %v, the variables %v", h.NetworkMode, h.VolumesFrom, c.env)
		}
		if !slices.Contains(c.entry, "--disk") {
			t.Errorf("what it may keep is not bounded: %v", c.entry)
		}
		c.exit = code
		if err := view.stopCopier(t.Context()); (err == nil) != (code == 0) {
			t.Errorf("with exit code %d: %v", code, err)
		}
	}
}

// copied is what engines that copy an image answer; export is called for what the first one saves.
func copied(export http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch path.Base(r.URL.Path) {
		case "json":
			_, _ = io.WriteString(w, `[{"Id":"1","RepoTags":["localhost/x:1"],"Size":1}]`)
		case "export":
			export(w, r)
		case "load":
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, `{"Names":["localhost/x:1"]}`)
		}
	}
}

func TestImagesAreCopied(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	f.nested = copied(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "an archive") })
	v := draws(t, e)
	v.b.Nested.ImageID = "sha256:1"
	if v.offerKept(t.Context()) {
		t.Error("images of a job that has failed are copied")
	}
	v.Bequeath(func() {})
	v.b.Agent = &carrier.Way{Volume: "agent"}
	if v.offerKept(t.Context()) {
		t.Error("images of an engine that shares no directories with the runner are copied")
	}
	v.b.Agent = &carrier.Way{}
	ended := filepath.Join(v.dir, fileEnded)
	if err := os.WriteFile(ended, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v.offerKept(t.Context()) {
		t.Error("images of an engine that was ended are copied")
	}
	if err := os.Remove(ended); err != nil {
		t.Fatal(err)
	}
	if !v.offerKept(t.Context()) {
		t.Error("they are not copied")
	}
	want := v.b.Nested.Domain + "-" + v.b.Ref.ID
	if g, err := e.generations().Read(v.b.Nested.Domain); err != nil || g.Volume != want {
		t.Errorf("offered is %q: %v", g.Volume, err)
	}
	if f.volumes[want][labelPart] != partImages || len(f.containers) > 0 {
		t.Errorf("there are %v, %v", f.volumes, f.containers)
	}
}

// TestCopyEndsWithTheRunner which leaves nothing of it, however long the engine that is read from says nothing.
func TestCopyEndsWithTheRunner(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	asked := make(chan struct{})
	f.nested = copied(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	v := draws(t, e)
	v.b.Nested.ImageID = "sha256:1"
	v.Bequeath(func() {})
	over := make(chan bool, 1)
	go func() { over <- v.offerKept(t.Context()) }()
	select {
	case <-asked:
	case tried := <-over:
		t.Fatalf("no engine is asked for the images; tried: %v", tried)
	}
	e.host.StopOffers()
	if !<-over {
		t.Error("it says that it has not tried")
	}
	if len(f.volumes) > 0 || len(f.containers) > 0 {
		t.Errorf("it has left %v, %v", f.volumes, f.containers)
	}
	if g, err := e.generations().Read(v.b.Nested.Domain); err != nil || g.Volume != "" {
		t.Errorf("offered is %q: %v", g.Volume, err)
	}
}

// TestWordsOfAnEngineAreFew has the runner's log not filled by what a job's engine answers.
func TestWordsOfAnEngineAreFew(t *testing.T) {
	t.Parallel()
	v, l := answering(t)
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = c.Write([]byte("HTTP/1.1 500 " + strings.Repeat("x", 32<<10) + "\r\nConnection: close\r\n\r\n\x1b[31m" + strings.Repeat("y", 32<<10)))
		}
	}()
	_, err := v.callNested(t.Context(), http.MethodGet, "/", nil)
	if err == nil || len(err.Error()) > 2<<10 || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "500 Internal Server Error") {
		t.Errorf("it says %.3000v", err)
	}
}

// TestNothingNewIsLookedForOnce in a while: it takes an engine.
func TestNothingNewIsLookedForOnce(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	f.nested = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }
	for _, want := range []bool{true, false} {
		v := draws(t, e)
		v.b.Nested.ImageID = "sha256:1"
		v.Bequeath(func() {})
		if got := v.offerKept(t.Context()); got != want {
			t.Errorf("it is looked for: %v, want %v", got, want)
		}
	}
	if len(f.volumes) > 0 || len(f.containers) > 0 {
		t.Errorf("there are %v, %v", f.volumes, f.containers)
	}
}

// answering is a job's environment with a socket in the place of its engine's. The caller closes it.
func answering(t *testing.T) (*environment, net.Listener) {
	t.Helper()
	_, e := offering(t)
	v := draws(t, e)
	if err := v.openNested(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(v.engineDir(), nestedSocket))
	if err != nil {
		t.Fatal(err)
	}
	return v, l
}
