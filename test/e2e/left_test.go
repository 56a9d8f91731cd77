package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
)

// owned lists what the engine has of the runner r: containers, networks and volumes, but not the daemons of its Nix
// stores, which outlive it.
func (r *runner) owned(api *client.Client, owner string) (things []string, volumes []string) {
	r.t.Helper()
	ctx := context.Background() // also after the test
	filter := make(client.Filters).Add("label", labelOwner+"="+owner)
	cs := listed(r.t, func() (client.ContainerListResult, error) {
		return api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	})
	for _, c := range cs.Items {
		if c.Labels[nixspec.LabelSpec] != "" {
			continue
		}
		things = append(things, "container "+strings.Join(c.Names, ","))
	}
	ns := listed(r.t, func() (client.NetworkListResult, error) {
		return api.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	})
	for _, n := range ns.Items {
		things = append(things, "network "+n.Name)
	}
	vs := listed(r.t, func() (client.VolumeListResult, error) {
		return api.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
	})
	for _, v := range vs.Items {
		volumes = append(volumes, v.Name)
	}
	return things, volumes
}

// listed is what an engine lists. Podman fails at times while others remove things.
func listed[T any](t *testing.T, list func() (T, error)) (all T) {
	t.Helper()
	until(t, "the engine lists what it has", func() bool {
		var err error
		if all, err = list(); err != nil {
			t.Log(err)
		}
		return err == nil
	})
	return all
}

// owner is what the runner's state directory says that it is.
func (r *runner) owner(t *testing.T) string {
	t.Helper()
	return ownerIn(t, []byte(readFile(t, filepath.Join(r.stateDir(), "identity"))))
}

func ownerIn(t *testing.T, content []byte) string {
	t.Helper()
	var identity struct {
		Owner string `json:"owner"`
	}
	if err := json.Unmarshal(content, &identity); err != nil || identity.Owner == "" {
		t.Fatalf("the runner's identity: %+v, %v", identity, err)
	}
	return identity.Owner
}

// end ends a runner whose jobs run in containers as an operator would, after a crash by way of another
// start, and checks that nothing of it is left but what is meant to be: volumes, which hold caches.
func (r *runner) end(api *client.Client) {
	t := r.t
	t.Helper()
	if !exists(r.stateDir()) {
		return
	}
	if r.cmd == nil || ended(r.cmd.Process.Pid) || r.isStopped() {
		r.co.RunnerDied()
		r.start()
	}
	r.quit()
	owner := r.owner(t)
	things, volumes := r.owned(api, owner)
	if len(things) > 0 {
		t.Errorf("left on the engine: %s", strings.Join(things, ", "))
	}
	if left := r.environments(); len(left) > 0 {
		t.Errorf("left in the state directory: %v", left)
	}
	if leases, err := os.ReadDir(filepath.Join(r.stateDir(), "envs", ".leases")); err == nil && len(leases) > 0 {
		t.Errorf("left leases: %v", leases)
	}
	r.purge(api, owner, volumes)
}

func (r *runner) isStopped() bool {
	select {
	case <-r.stopped:
		return true
	default:
		return false
	}
}

// quit ends the runner's process, when its jobs are over and what it keeps for others is removed.
func (r *runner) quit() {
	until(r.t, "the runner is ready", func() bool { return strings.Contains(r.log.String()[r.before:], "Runner is ready") })
	_ = r.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-r.stopped:
	case <-time.After(patience):
		r.t.Error("the runner does not end after QUIT")
		r.kill()
	}
}

// purge removes volumes, and all that a failed test has left.
func (r *runner) purge(api *client.Client, owner string, volumes []string) {
	ctx := context.Background()
	filter := make(client.Filters).Add("label", labelOwner+"="+owner)
	if cs, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter}); err == nil {
		for range 2 { // a container whose network others have is removed after them
			for _, c := range cs.Items {
				_, _ = api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			}
		}
	}
	if ns, err := api.NetworkList(ctx, client.NetworkListOptions{Filters: filter}); err == nil {
		for _, n := range ns.Items {
			_, _ = api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		}
	}
	for _, v := range volumes {
		if _, err := api.VolumeRemove(ctx, v, client.VolumeRemoveOptions{Force: true}); err != nil {
			r.t.Errorf("remove the volume %s: %v", v, err)
		}
	}
}
