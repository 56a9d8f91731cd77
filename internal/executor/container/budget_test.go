package container_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

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
		case <-time.After(time.Minute):
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
