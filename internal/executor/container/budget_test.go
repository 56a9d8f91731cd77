package container_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/job"
)

// A budget that is always exceeded evicts images between the jobs that need them, and neither fails a job nor keeps
// it waiting.
func TestBudgetWithManyImages(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		const kinds, workers, jobs = 5, 3, 4
		names := pushed(t, e, kinds)
		b := newBench(t, e)
		b.o.Disk = disk.Policy{Bytes: 1}
		evicted := make(chan disk.Eviction, 1000)
		b.host.LookEvery, b.host.Keychain = 10*time.Millisecond, &images.Keychain{}
		b.host.Evicted = func(e disk.Eviction) {
			if e.Kind == disk.Image {
				evicted <- e
			}
		}
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(w))) //nolint:gosec // only varied
				for range jobs {
					j := newJob(int64(w))
					j.Image = &job.Image{Name: names[random.IntN(kinds)]}
					if random.IntN(2) == 0 {
						j.Services = []job.Image{{Name: names[random.IntN(kinds)], Command: []string{"sleep", "1000"}}}
					}
					b.pass(t, b.o, j)
				}
			})
		}
		all.Wait()
		select {
		case <-evicted:
		case <-time.After(patience):
			t.Error("no image was evicted")
		}
	})
}

// pushed are the names of n images in a registry, which the engine does not have.
func pushed(t *testing.T, e enginetest.Engine, n int) (names []string) {
	t.Helper()
	registry := enginetest.NewRegistry(t, e)
	api := e.Client(t)
	for i := range n {
		repository := fmt.Sprintf("open/image-%d", i)
		registry.Allow("", "", repository)
		registry.Push(t, enginetest.Image{Name: repository + ":1", Files: map[string]string{"content": registry.Host + repository}})
		name := registry.Host + "/" + repository + ":1"
		names = append(names, name)
		t.Cleanup(func() { _, _ = api.ImageRemove(context.Background(), name, removal) })
	}
	return names
}

// pass runs a job whose places come up, from its beginning to its end.
func (b *bench) pass(t *testing.T, o container.Options, j *job.Job) {
	t.Helper()
	log := &said{}
	env, err := container.New(o, b.host, quiet(t)).Prepare(t.Context(), executor.NewRef(b.owner), j, log)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		conn, err := env.Dial(ctx, place)
		if err != nil {
			t.Errorf("%s: %v\n%s", place, err, log)
			continue
		}
		_ = conn.Close()
	}
	if err := env.Close(ctx); err != nil {
		t.Error(err)
	}
}

// Two runners with directories of their own touch nothing of each other's on one engine, whatever their budgets.
func TestTwoRunnersOnOneEngine(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		names := pushed(t, e, 2)
		api := e.Client(t)
		one, two := newBench(t, e), newBench(t, e)
		gone := make(chan disk.Eviction, 100)
		for _, b := range []*bench{one, two} {
			b.host.LookEvery, b.host.Keychain = 10*time.Millisecond, &images.Keychain{}
			t.Cleanup(func() { purge(t, api, b.owner) })
		}
		two.host.Evicted = func(e disk.Eviction) { gone <- e }
		uses := func(image string) *job.Job {
			j := newJob(1)
			j.Image = &job.Image{Name: image}
			return j
		}
		one.pass(t, one.o, uses(names[0])) // its image and volumes are idle then
		running, err := container.New(one.o, one.host, quiet(t)).Prepare(t.Context(), executor.NewRef(one.owner), newJob(2), &said{})
		if err != nil {
			t.Fatal(err)
		}
		if err := dial(t, running); err != nil {
			t.Fatal(err)
		}
		if conn, err := running.Dial(within(t), executor.Helper); err != nil { // which may be made after the job's own place
			t.Fatal(err)
		} else {
			_ = conn.Close()
		}
		before := everything(t, api, one.owner)

		two.o.Disk = disk.Policy{Bytes: 1, Percent: 0.0001, VolumeTTL: time.Nanosecond}
		two.pass(t, two.o, uses(names[0]))
		two.pass(t, two.o, uses(names[1]))
		for range 3 { // its own image and volumes: the others are kept
			select {
			case <-gone:
			case <-time.After(patience):
				t.Fatal("the second runner evicts nothing")
			}
		}
		if err := container.New(two.o, two.host, quiet(t)).Reconcile(t.Context(), two.owner, nil); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before, everything(t, api, one.owner)); diff != "" {
			t.Errorf("the second runner changed what the first one has: -before +after:\n%s", diff)
		}
		if _, err := e.Connect(t).Image(t.Context(), names[0]); err != nil { // which asks again where Podman stumbles over images of others
			t.Errorf("the image that the first runner has pulled: %v", err)
		}
		if conn, err := running.Dial(within(t), executor.Build); err != nil {
			t.Errorf("the first runner's job: %v", err)
		} else {
			_ = conn.Close()
		}
	})
}

// everything is what the engine has of an owner.
func everything(t *testing.T, api *client.Client, owner executor.OwnerID) map[string][]string {
	t.Helper()
	containers, networks, volumes := owned(t, api, owner)
	for _, list := range [][]string{containers, networks, volumes} {
		slices.Sort(list)
	}
	return map[string][]string{"containers": containers, "networks": networks, "volumes": volumes}
}
