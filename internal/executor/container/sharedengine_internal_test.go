package container

import (
	"context"
	"errors"
	"os"
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
