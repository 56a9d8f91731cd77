package disk_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// anEngine answers as one does that has these images and containers. Real ones are not for this test: they have those of
// other tests, which would be pruned.
type anEngine struct {
	mu         sync.Mutex
	images     map[string]anImage // by ID
	containers map[string]aContainer
}

type anImage struct {
	tags   []string
	labels map[string]string
	age    time.Duration
	used   bool // by a container
}

type aContainer struct {
	state  string
	labels map[string]string
	age    time.Duration
}

func (a *anEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	if len(parts) < 3 {
		answer(http.StatusOK, map[string]any{"ApiVersion": "1.41", "Version": "5.0.0"}) // _ping, version, info
		return
	}
	name := strings.Join(parts[2:], "/")
	switch what := r.Method + " " + parts[1]; {
	case what == "GET images" && name == "json":
		answer(http.StatusOK, a.listImages())
	case what == "GET containers":
		answer(http.StatusOK, a.listContainers())
	case what == "DELETE containers":
		delete(a.containers, name)
		w.WriteHeader(http.StatusNoContent)
	case what == "GET images":
		id := a.find(strings.TrimSuffix(name, "/json"))
		if id == "" {
			answer(http.StatusNotFound, map[string]string{"message": "no such image"})
			return
		}
		answer(http.StatusOK, map[string]any{"Id": id, "RepoTags": a.images[id].tags})
	case what == "DELETE images":
		answer(a.drop(name), []any{})
	default:
		answer(http.StatusNotFound, map[string]string{"message": "not known here"})
	}
}

func (a *anEngine) find(name string) string {
	for id, i := range a.images {
		if id == name || slices.Contains(i.tags, name) {
			return id
		}
	}
	return ""
}

// drop takes a name away, and the image with its last one.
func (a *anEngine) drop(name string) int {
	id := a.find(name)
	i := a.images[id]
	switch {
	case id == "":
		return http.StatusNotFound
	case i.used && len(i.tags) < 2:
		return http.StatusConflict
	case len(i.tags) > 1:
		i.tags = slices.DeleteFunc(slices.Clone(i.tags), func(t string) bool { return t == name })
		a.images[id] = i
	default:
		delete(a.images, id)
	}
	return http.StatusOK
}

func (a *anEngine) listImages() (list []any) {
	for id, i := range a.images {
		list = append(list, map[string]any{"Id": id, "RepoTags": i.tags, "Labels": i.labels, "Size": 100, "SharedSize": 40, "Created": time.Now().Add(-i.age).Unix()})
	}
	return list
}

func (a *anEngine) listContainers() (list []any) {
	for id, c := range a.containers {
		list = append(list, map[string]any{"Id": id, "State": c.state, "Labels": c.labels, "Created": time.Now().Add(-c.age).Unix()})
	}
	return list
}

// TestPrune: what nothing uses goes, and what a job is about to use, a label keeps, or somebody has just made stays.
func TestPrune(t *testing.T) {
	t.Parallel()
	const old = 2 * time.Hour
	id := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	server := &anEngine{
		images: map[string]anImage{
			id("a"): {tags: []string{"old:1", "old:2"}, age: old},
			id("b"): {age: old}, // without a name
			id("c"): {tags: []string{"needed:1"}, age: old},
			id("d"): {tags: []string{"run:1"}, age: old, used: true},
			id("e"): {tags: []string{"kept:1"}, age: old, labels: map[string]string{"no-prune": ""}},
			id("f"): {tags: []string{"made:1"}, age: old, labels: map[string]string{"com.gitlab.skerry.image": "nix-daemon"}},
			id("0"): {tags: []string{"built:1"}},
			id("1"): {tags: []string{"pulled:1"}},
		},
		containers: map[string]aContainer{
			"old": {state: "exited", age: old}, "created": {state: "created", age: old}, "running": {state: "running", age: old},
			"own": {state: "exited", age: old, labels: map[string]string{labelOwner: "0123456789abcdef"}}, "new": {state: "exited"},
		},
	}
	http := httptest.NewServer(server)
	t.Cleanup(http.Close)
	engine, err := engineapi.Connect(t.Context(), engineapi.Address{Host: strings.Replace(http.URL, "http://", "tcp://", 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	k := disk.New(disk.Options{
		Owner: "0123456789abcdef", LabelOwner: labelOwner, Path: filepath.Join(t.TempDir(), "ledger"), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Engine: func(context.Context) (*engineapi.Engine, error) { return engine, nil },
		InUse:  func() ([]string, error) { return []string{"docker.io/library/needed:1"}, nil },
		Every:  time.Hour,
	})
	t.Cleanup(k.Close)
	k.Pull("pulled:1", "")(id("1"))
	got, err := k.Prune(t.Context())
	if d := cmp.Diff(disk.Pruned{Images: 3, Containers: 2, Bytes: 180}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	var images, containers []string
	for _, i := range server.images {
		images = append(images, i.tags...)
	}
	for c := range server.containers {
		containers = append(containers, c)
	}
	slices.Sort(images)
	slices.Sort(containers)
	if d := cmp.Diff([]string{"built:1", "kept:1", "made:1", "needed:1", "run:1"}, images); d != "" {
		t.Errorf("images (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"new", "own", "running"}, containers); d != "" {
		t.Errorf("containers (-want +got):\n%s", d)
	}
}
