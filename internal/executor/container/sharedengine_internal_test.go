package container

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

func sharing(t *testing.T) (*fakeEngine, *Executor) {
	t.Helper()
	o := plainOptions()
	o.Nested = &Nested{Image: "podman", Shared: true}
	return newFakeEngine(t, o)
}

var thePodman = &engineapi.Image{ID: "sha256:1"}

// TestSilentSharedEngineIsMadeAnew has a job come to an engine that another one has stopped: the former gets a new one, the latter is told.
func TestSilentSharedEngineIsMadeAnew(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	first, second := draws(t, e), draws(t, e)
	if err := first.shared().ensure(t.Context(), first, thePodman); err != nil {
		t.Fatal(err)
	}
	f.get(first.b.Shared.Name).silence()
	e.host.SharedSilence = time.Millisecond
	if err := second.shared().ensure(t.Context(), second, thePodman); err != nil {
		t.Fatal(err)
	}
	for v, want := range map[*environment]bool{first: true, second: false} {
		var out strings.Builder
		v.Report(t.Context(), &out)
		if got := strings.Contains(out.String(), "was made anew while the job ran"); got != want {
			t.Errorf("the job is told %q", out.String())
		}
	}
}

// TestWhoWaitsForASharedEngine may be cancelled, however long another one makes it.
func TestWhoWaitsForASharedEngine(t *testing.T) {
	t.Parallel()
	_, e := sharing(t)
	v := draws(t, e)
	release, err := v.shared().take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	why := errors.New("the job is cancelled")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := v.shared().ensure(ctx, v, thePodman); !errors.Is(err, why) {
		t.Errorf("a job that is cancelled: %v", err)
	}
	if err := v.shared().retire(ctx); !errors.Is(err, why) {
		t.Errorf("a runner that ends: %v", err)
	}
}

// TestSharedDirectoryStays has a job drawn, and its build place made, while the engine is removed because nobody had it.
func TestSharedDirectoryStays(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	first := draws(t, e)
	if err := first.shared().ensure(t.Context(), first, thePodman); err != nil {
		t.Fatal(err)
	}
	ended(t, first)
	before, err := os.Stat(first.engineDir())
	if err != nil {
		t.Fatal(err)
	}
	var next *environment
	f.removing = func(string) {
		next = draws(t, e)
		if err := next.openNested(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := first.shared().retire(t.Context()); err != nil || next == nil {
		t.Fatalf("removed: %v; %v", next != nil, err)
	}
	if entries, err := os.ReadDir(first.engineDir()); err != nil || len(entries) > 0 {
		t.Errorf("it is left with %v: %v", entries, err)
	}
	if err := next.shared().ensure(t.Context(), next, thePodman); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(next.engineDir())
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the job's build place has another directory than its engine: %v", err)
	}
	ended(t, next)
	if err := e.host.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.sharedDir(next.b.Shared.Name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the host is closed: %v", err)
	}
}

// TestSomebodyElsesSharedEngine is not used, whatever its name.
func TestSomebodyElsesSharedEngine(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	v := draws(t, e)
	f.containers[v.b.Shared.Name] = &fakeContainer{id: "other", running: true, labels: map[string]string{labelOwner: "fedcba9876543210", labelPart: partShared}}
	if err := v.shared().ensure(t.Context(), v, thePodman); err == nil || !strings.Contains(err.Error(), "is not the engine that jobs of this runner share") {
		t.Error(err)
	}
	ended(t, v)
	if err := v.shared().retire(t.Context()); err != nil || f.get(v.b.Shared.Name) == nil {
		t.Errorf("it is removed (%v)", err)
	}
}

// TestVolumesFromOfASharedEngine refuses containers in volumes_from where jobs can write to the engine's programs, as with an engine of a job.
func TestVolumesFromOfASharedEngine(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	f.containers["donor"] = &fakeContainer{id: "donor", writable: []string{"/data", "/usr/local/bin"}}
	e.o.VolumesFrom = []string{"donor"}
	v := draws(t, e)
	v.reached = &step{done: make(chan struct{})}
	close(v.reached.done)
	if err := v.useShared(t.Context()); err == nil || !strings.Contains(err.Error(), "jobs can write to /usr/local/bin of the container donor") {
		t.Error(err)
	}
}

// TestWhoHasItIsNotKnown keeps what a job may have whose record cannot be read just now, and what may be somebody else's.
func TestWhoHasItIsNotKnown(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	v := draws(t, e)
	if err := v.shared().ensure(t.Context(), v, thePodman); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(v.dir, fileBlueprint)
	if err := errors.Join(os.Remove(record), os.Mkdir(record, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := v.shared().retire(t.Context()); err == nil || f.get(v.b.Shared.Name) == nil {
		t.Errorf("the engine is removed (%v)", err)
	}
	if _, ok := e.reserveShared(v.b.Ref.Owner, sharedStore(v.b.Shared.Name)); ok {
		t.Error("its volume is given away")
	}
	if _, _, err := e.generationUsed("x"); err == nil {
		t.Error("nobody has images")
	}
	ended(t, v)
	f.silent = true
	if err := v.shared().retire(t.Context()); err == nil || f.get(v.b.Shared.Name) == nil {
		t.Errorf("an engine of which nothing can be known is removed (%v)", err)
	}
	if err := v.removeOwn(t.Context(), v.b.Shared.Name); err == nil || f.get(v.b.Shared.Name) == nil {
		t.Errorf("a container of which nothing can be known is removed (%v)", err)
	}
	f.silent = false
	release, ok := e.reserveShared(v.b.Ref.Owner, sharedStore(v.b.Shared.Name))
	if !ok || f.get(v.b.Shared.Name) != nil {
		t.Fatal("the volume of an engine that nobody has is not given away")
	}
	release()
}

// TestLeftSharedEngine of a runner that was killed is removed if no job has it.
func TestLeftSharedEngine(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	v := draws(t, e)
	name := v.b.Shared.Name
	labels := map[string]string{labelOwner: string(v.b.Ref.Owner), labelPart: partShared}
	f.containers[name] = &fakeContainer{id: "left", running: true, labels: labels}
	left := []engineapi.Thing{{Name: name, Labels: labels}, {Name: "other"}}
	for _, gone := range []bool{false, true} {
		if gone {
			ended(t, v)
		}
		other := New(e.o, &Host{}, e.log)
		if err := other.adoptShared(t.Context(), v.b.Ref.Owner, left); err != nil || (f.get(name) == nil) != gone {
			t.Errorf("it is removed: %v, want %v (%v)", f.get(name) == nil, gone, err)
		}
		if err := other.host.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestDeadContainersGo when an engine is made anew, also while other jobs have it, and nothing newer.
func TestDeadContainersGo(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	var until []string
	f.nested = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/prune") {
			until = append(until, r.URL.Query().Get("filters"))
			w.WriteHeader(http.StatusInternalServerError) // which no job has to know
		}
	}
	from := time.Now().Unix()
	for range 2 {
		v := draws(t, e)
		if err := v.shared().ensure(t.Context(), v, thePodman); err != nil {
			t.Fatal(err)
		}
		f.get(v.b.Shared.Name).silence()
		e.host.SharedSilence = time.Millisecond
	}
	if len(until) != 2 {
		t.Fatalf("removed are %v", until)
	}
	for _, text := range until {
		var filters map[string][]string
		if err := json.Unmarshal([]byte(text), &filters); err != nil || len(filters["until"]) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		if at, err := strconv.ParseFloat(filters["until"][0], 64); err != nil || int64(at) < from || int64(at) > time.Now().Unix() {
			t.Errorf("those before %v are removed (%v)", at, err)
		}
	}
}
