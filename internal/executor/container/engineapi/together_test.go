package engineapi_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// Containers that share volumes are made at once: Podman before 4.8 would never answer again.
func TestCreateSideBySide(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		const image, rounds, containers = "skerry.test/busybox:latest", 8, 4
		e.Load(t, enginetest.Image{Name: image})
		engine := e.Connect(t)
		id := rand.Text()
		var mounts []mount.Mount
		for n := range 3 {
			name := fmt.Sprintf("skerry-test-%s-%d", id, n)
			mounts = append(mounts, mount.Mount{Type: mount.TypeVolume, Source: name, Target: fmt.Sprintf("/v%d", n)})
			t.Cleanup(func() { _ = engine.RemoveVolume(context.Background(), name) })
			if err := engine.Volume(t.Context(), name, nil); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		for round := range rounds {
			var all sync.WaitGroup
			for n := range containers {
				name := fmt.Sprintf("skerry-test-%s-%d-%d", id, round, n)
				t.Cleanup(func() { _ = engine.Remove(context.Background(), name) })
				all.Go(func() {
					_, err := engine.Create(ctx, client.ContainerCreateOptions{
						Name: name, Config: &container.Config{Image: image, Cmd: []string{"true"}}, HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: mounts},
					})
					if err != nil {
						t.Errorf("container %d of round %d: %v", n, round, err)
					}
				})
			}
			all.Wait()
			if t.Failed() {
				return
			}
		}
	})
}
