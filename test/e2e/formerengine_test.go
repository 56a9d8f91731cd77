package e2e

import (
	"context"
	"os"
	"regexp"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// TestEngineLeavesTheConfiguration kills a runner and takes the engine out of its configuration while a job runs there:
// the job ends with its own status, and the next runners clean up on the engine as if it were theirs still.
func TestEngineLeavesTheConfiguration(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.project(t, gitlabtest.Options{}))
		r.start()
		g, api := m.gate(t), m.client(t)
		id := r.add(gitlabtest.JobSpec{Project: "group/project", Script: append(append([]string{"echo said before"}, g.lines()...), "echo went on", "exit 7")})
		g.await(t)
		r.kill()

		// What an engine had been asked for and made after the kill.
		owner := r.owner(t)
		build := r.container(api, owner, "build")
		plant := func(id string) (name string) {
			name = "skerry-" + id + "-build"
			_, err := api.ContainerCreate(t.Context(), client.ContainerCreateOptions{Name: name, Config: &container.Config{
				Image: jobImage, Cmd: []string{"true"}, Labels: map[string]string{labelOwner: owner, "com.gitlab.skerry.ref": owner + "/" + id},
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_, _ = api.ContainerRemove(context.Background(), name, client.ContainerRemoveOptions{Force: true})
			})
			return name
		}
		gone := func(name string) func() bool {
			return func() bool {
				left, err := api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("name", name)})
				return err == nil && len(left.Items) == 0
			}
		}
		left := plant("00112233445566aa")
		raw, err := os.ReadFile(r.config())
		if err != nil {
			t.Fatal(err)
		}
		local := regexp.MustCompile(`(?s)executor = "docker".*`).ReplaceAll(raw, []byte("executor = \"shell\"\n"))
		if err := os.WriteFile(r.config(), local, 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
		until(t, "what was left is gone", gone(left))
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "script_failure")
		contains(t, log, "said before", "01O went on", "exit code 7")
		until(t, "the job's containers are gone", gone(build))
		left = plant("00112233445566bb")
		r.restart()
		until(t, "what was left later is gone", gone(left))
	})
}
