package container_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/executor/container/images"
	"gitlab.com/skerry/skerry/internal/executor/executortest"
)

const busybox = "skerry.test/busybox:latest"

// options are those of a runner entry of a test; what it makes is gone when the test ends.
func options(t *testing.T, e enginetest.Engine) container.Options {
	t.Helper()
	e.Load(t, enginetest.Image{Name: busybox})
	scope := executor.NewRef("x").ID
	api := e.Client(t)
	t.Cleanup(func() { // the volumes that later jobs of its projects would find
		named := client.VolumeListOptions{Filters: make(client.Filters).Add("name", scope)}
		for _, v := range listed(t, func() (client.VolumeListResult, error) { return api.VolumeList(context.Background(), named) }).Items {
			_, _ = api.VolumeRemove(context.Background(), v.Name, client.VolumeRemoveOptions{}) // what has it is what the test is about
		}
	})
	return container.Options{
		Engine: e.Address, Dir: filepath.Join(t.TempDir(), "envs"), Agent: enginetest.Agent(t), Scope: scope,
		BuildsDir: "/builds", CacheDir: "/cache", Image: busybox, HelperImage: busybox,
		Rules: images.Rules{PullPolicy: []string{images.IfNotPresent}},
	}
}

func TestRootlessIsKnown(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		if got := e.Connect(t).Rootless; got != (e.Name == "rootless") {
			t.Errorf("rootless: %t", got)
		}
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) { conform(t, e, false) })
}

// conform runs the suite; remote engines are those with which the runner shares no directories.
func conform(t *testing.T, e enginetest.Engine, remote bool) {
	t.Helper()
	o := options(t, e)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	api := e.Client(t)
	executortest.Run(t, executortest.Harness{
		New: func(t *testing.T) executor.Executor {
			host := &container.Host{Remote: remote}
			t.Cleanup(func() {
				if err := host.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
			return container.New(o, host, log)
		},
		Dir: func(*testing.T) string { return "/builds/conformance" },
		Kill: func(t *testing.T, ref executor.Ref, place executor.Place) {
			if _, err := api.ContainerKill(context.Background(), "skerry-"+ref.ID+"-"+string(place), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
				t.Fatal(err)
			}
		},
	})
	left, err := os.ReadDir(o.Dir)
	for _, entry := range left {
		if !slices.Contains([]string{".leases", ".disk", ".images", ".slots", ".nix"}, entry.Name()) {
			t.Errorf("left behind: %s", entry.Name())
		}
	}
	// All networks are gone: of each only the directory in which its holder answered could be left.
	if doors, err := os.ReadDir(filepath.Join(o.Dir, ".slots")); err == nil && len(doors) > 0 {
		t.Errorf("the doors of %d networks are left", len(doors))
	}
	if err != nil {
		t.Error(err)
	}
}
