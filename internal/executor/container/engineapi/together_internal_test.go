package engineapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

func TestTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all together
		take := func(names ...string) func() {
			release, err := all.take(t.Context(), names)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}
		first := take("a", "b")
		took := make(chan string, 2)
		go func() {
			release := take("b", "c")
			took <- "b c"
			release()
		}()
		other := take("d", "e") // has nothing to do with it
		synctest.Wait()
		if len(took) != 0 {
			t.Error("two have the same volume")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := all.take(ctx, []string{"e", "a"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait that is given up: %v", err)
		}
		first()
		if got := <-took; got != "b c" {
			t.Error(got)
		}
		other()
		synctest.Wait()
		if len(all.held) != 0 {
			t.Errorf("left: %v", all.held)
		}
	})
}

func TestSharedVolumes(t *testing.T) {
	t.Parallel()
	volume := func(name string) mount.Mount {
		return mount.Mount{Type: mount.TypeVolume, Source: name, Target: "/" + name}
	}
	for name, c := range map[string]struct {
		host container.HostConfig
		want []string
	}{
		"none":              {},
		"one":               {container.HostConfig{Mounts: []mount.Mount{volume("a")}, Binds: []string{"/b:/b"}}, nil},
		"two":               {container.HostConfig{Mounts: []mount.Mount{volume("b"), {Type: mount.TypeBind, Source: "/x"}, volume("")}, Binds: []string{"a:/a:ro"}}, []string{"a", "b"}},
		"the same twice":    {container.HostConfig{Mounts: []mount.Mount{volume("a")}, Binds: []string{"a:/a"}}, nil},
		"of another":        {container.HostConfig{VolumesFrom: []string{"data:ro"}}, []string{"of container data"}},
		"own and another's": {container.HostConfig{Mounts: []mount.Mount{volume("a")}, VolumesFrom: []string{"data"}}, []string{"a", "of container data"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, sharedVolumes(client.ContainerCreateOptions{HostConfig: &c.host})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLocksAll(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"3.4.4": true, "4.3.1": true, "4.7.2": true, "4.8.0": false, "4.9.4-rhel": false, "5.4.2": false, "odd": true} {
		if got := (&Engine{Kind: Podman, Version: version}).locksAll(); got != want {
			t.Errorf("Podman %s: %t", version, got)
		}
	}
	if (&Engine{Kind: Docker, Version: "20.10.24"}).locksAll() {
		t.Error("Docker does")
	}
}
