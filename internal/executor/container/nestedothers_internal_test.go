package container

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// anOutside answers as an engine does that has a container of any name that it is asked for, with these labels.
type anOutside struct {
	labels map[string]string
	mu     sync.Mutex
	did    []string // to the container
}

func (a *anOutside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	code, answer := http.StatusOK, any(map[string]any{"ApiVersion": "1.41", "Version": "5.0.0"}) // _ping, version, info
	switch what := r.Method + " " + r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]; {
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/volumes/create"):
		code = http.StatusCreated
	case what == "POST create":
		code, answer = http.StatusConflict, map[string]string{"message": "the name is already in use"}
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/containers/"):
		answer = map[string]any{"Id": "it", "Config": map[string]any{"Labels": a.labels}, "State": map[string]any{"Status": "created"}}
	case r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/containers/"):
		a.mu.Lock()
		a.did = append(a.did, what)
		a.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

// TestNoEngineOfOthers: the container that has the name of a job's own engine is that job's, or nothing is done to it.
func TestNoEngineOfOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change map[string]string
		fails  bool
	}{
		"that an earlier process has made": {nil, false},
		"of another runner":                {map[string]string{labelOwner: "fedcba9876543210"}, true},
		"of another job":                   {map[string]string{labelRef: "0123456789abcdef/00000000000000bb"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := plainOptions()
			o.Nested = &Nested{Image: "podman"}
			v, err := planned(t, o, testJob(), engineapi.Docker)
			if err != nil {
				t.Fatal(err)
			}
			v.log = slog.New(slog.DiscardHandler)
			outside := &anOutside{labels: ownLabels(v.b.Ref, partNested)}
			maps.Copy(outside.labels, c.change)
			server := httptest.NewServer(outside)
			t.Cleanup(server.Close)
			if v.engine, err = engineapi.Connect(t.Context(), engineapi.Address{Host: strings.Replace(server.URL, "http://", "tcp://", 1)}, nil); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = v.engine.Close() })
			if err := v.createNested(t.Context(), &engineapi.Image{ID: "sha256:1"}); (err != nil) != c.fails {
				t.Errorf("made: %v", err)
			}
			if err := v.removeNested(t.Context()); err != nil {
				t.Errorf("removed: %v", err)
			}
			want := []string{"POST start", "DELETE " + v.b.Nested.Name}
			if c.fails {
				want = nil
			}
			if diff := cmp.Diff(want, outside.did); diff != "" {
				t.Errorf("done to it: %s", diff)
			}
		})
	}
}
