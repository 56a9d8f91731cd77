package container_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
)

const labelOwner = "com.gitlab.skerry.owner"

// owned are what carries the owner's label.
func owned(t *testing.T, api *client.Client, owner executor.OwnerID) (containers, networks, volumes []string) {
	t.Helper()
	ctx := context.Background() // also after the test
	filter := make(client.Filters).Add("label", labelOwner+"="+string(owner))
	for _, c := range listed(t, func() (client.ContainerListResult, error) {
		return api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	}).Items {
		containers = append(containers, c.ID)
	}
	for _, n := range listed(t, func() (client.NetworkListResult, error) {
		return api.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	}).Items {
		networks = append(networks, n.ID)
	}
	for _, v := range listed(t, func() (client.VolumeListResult, error) {
		return api.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
	}).Items {
		volumes = append(volumes, v.Name)
	}
	return containers, networks, volumes
}

// listed is what an engine lists. Podman stumbles over what goes while it does, of anybody's, and is asked again.
func listed[L any](t *testing.T, list func() (L, error)) L {
	t.Helper()
	for attempt := 1; ; attempt++ {
		l, err := list()
		if err == nil {
			return l
		}
		if attempt == 10 {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// jobsThings are those of them that no later job uses again.
func jobsThings(t *testing.T, api *client.Client, owner executor.OwnerID) []string {
	t.Helper()
	containers, networks, volumes := owned(t, api, owner)
	volumes = slices.DeleteFunc(volumes, func(v string) bool { return strings.Contains(v, "-project-") })
	return slices.Concat(containers, networks, volumes)
}

// purge removes all that carries the owner's label.
func purge(t *testing.T, api *client.Client, owner executor.OwnerID) {
	t.Helper()
	ctx := context.Background()
	containers, networks, volumes := owned(t, api, owner)
	for range 2 { // a container whose network others have is removed after them
		for _, c := range containers {
			_, _ = api.ContainerRemove(ctx, c, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		}
	}
	for _, n := range networks {
		_, _ = api.NetworkRemove(ctx, n, client.NetworkRemoveOptions{})
	}
	for _, v := range volumes {
		_, _ = api.VolumeRemove(ctx, v, client.VolumeRemoveOptions{Force: true})
	}
}
