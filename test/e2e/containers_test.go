package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// container finds the one container of the runner r whose name ends with part ("build"), or, for "slot",
// the one that holds the job's network; empty when there is none yet.
func (r *runner) container(api *client.Client, owner, part string) string {
	list, err := api.ContainerList(context.Background(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", labelOwner+"="+owner),
	})
	if err != nil {
		return "" // the engine is just being started
	}
	for _, c := range list.Items {
		if len(c.Names) == 0 {
			continue
		}
		name := strings.TrimPrefix(c.Names[0], "/")
		if part == "slot" && c.Labels["com.gitlab.skerry.slot"] == name || strings.HasSuffix(name, "-"+part) {
			return name
		}
	}
	return ""
}

// withService gives a job a service that listens on port 80, all the time.
func withService(p *jobpayload.Payload) {
	p.Services = []jobpayload.Image{{Name: jobImage, Alias: "web", Command: []string{"nc", "-ll", "-p", "80", "-e", "echo", "hello"},
		Variables: []jobpayload.Variable{{Key: "HEALTHCHECK_TCP_PORT", Value: "80", Public: true}}}}
}

// TestContainerKilled kills each container of a job from outside, as an operator or another program does:
// the job ends with its own status where it needs the container no more, else with a reason.
func TestContainerKilled(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		for part, c := range map[string]struct {
			reason string
			says   []string
		}{
			"build":     {"runner_system_failure", []string{"said before", "ERROR: Job failed (system failure)", "build container"}},
			"helper":    {"script_failure", []string{"said before", "exit code 7"}},
			"service-0": {"script_failure", []string{"said before", "exit code 7"}},
		} {
			t.Run(part, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.project(t, gitlabtest.Options{}))
				r.start()
				g, api := m.gate(t), m.client(t)
				id := r.add(gitlabtest.JobSpec{
					Project: "group/project", Script: append(append([]string{"echo said before", "nc web 80 < /dev/null"}, g.lines()...), "exit 7"),
					Artifacts: []jobpayload.Artifact{{Paths: []string{"README"}, When: "always", ArtifactFormat: "zip", ArtifactType: "archive"}},
					Edit:      withService,
				})
				g.await(t)
				until(t, "the output is with the coordinator", func() bool {
					log, err := r.co.Trace(id)
					return err == nil && strings.Contains(string(log), "01O hello")
				})
				if _, err := api.ContainerKill(t.Context(), r.container(api, r.owner(t), part), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
					t.Fatal(err)
				}
				g.open(t)
				j, log := r.wait(id)
				want(t, j, log, gitlabtest.StatusFailed, c.reason)
				contains(t, log, c.says...)
			})
		}
		t.Run("slot", func(t *testing.T) { // the job's network ends with it
			t.Parallel()
			r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
			r.start()
			g, api := m.gate(t), m.client(t)
			id := r.add(gitlabtest.JobSpec{Script: []string{"timeout 5 " + g.door.line() + " || true", "exit 7"}})
			g.await(t)
			if _, err := api.ContainerKill(t.Context(), r.container(api, r.owner(t), "slot"), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
				t.Fatal(err)
			}
			j, log := r.wait(id)
			want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			contains(t, log, "exit code 7")
			j, log = r.wait(r.add(gitlabtest.JobSpec{Script: []string{"echo of the next"}}))
			want(t, j, log, gitlabtest.StatusSuccess, "")
		})
	})
}

// TestContainerOutOfMemory lets a job take more memory than it may: it fails, and says why. Rootless engines have
// no control over memory on machines without unified control groups.
func TestContainerOutOfMemory(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		r := m.runnerWith(t, m.coordinator(t, gitlabtest.Options{}), nil, `memory = "64m"`, `memory_swap = "64m"`)
		r.start()
		j, log := r.wait(r.add(gitlabtest.JobSpec{Script: []string{"echo said before", "head -c 500000000 /dev/zero | tail > /dev/null", "exit 7"}}))
		if j.Reason != "script_failure" && j.Reason != "runner_system_failure" {
			t.Errorf("reason %q", j.Reason)
		}
		contains(t, log, "said before", "out of memory", "limit 64.0 MiB, peak 6")
		j, log = r.wait(r.add(gitlabtest.JobSpec{Script: []string{"echo of the next"}}))
		want(t, j, log, gitlabtest.StatusSuccess, "")
	}, "docker", "podman")
}

// TestKilledWhilePreparing kills the runner as soon as a piece of the job's environment is there: its successor
// makes the rest, and the script runs once.
func TestKilledWhilePreparing(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		for _, piece := range []string{"record", "slot", "helper", "build", "service-0"} {
			t.Run(piece, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.project(t, gitlabtest.Options{}))
				r.start()
				r.awaitLog("Runner is ready")
				api, owner, g := m.client(t), r.owner(t), m.gate(t)
				id := r.add(gitlabtest.JobSpec{
					Project: "group/project", Edit: withService,
					Script: append(append([]string{"echo said before", "nc web 80 < /dev/null"}, g.lines()...), "cat README", "exit 7"),
				})
				atOnce(t, piece, func() bool {
					if piece == "record" {
						files, err := filepath.Glob(filepath.Join(r.stateDir(), "envs", "[^.]*", "env.json"))
						return err == nil && len(files) > 0
					}
					return r.container(api, owner, piece) != ""
				})
				r.restart()
				g.await(t)
				r.restart() // and another that adopts what is whole
				g.open(t)
				j, log := r.wait(id)
				want(t, j, log, gitlabtest.StatusFailed, "script_failure")
				contains(t, log, "01O said before", "01O hello", "exit code 7")
				if n := g.door.visitors(); n != 1 {
					t.Errorf("the script ran %d times, want once", n)
				}
			})
		}
	})
}

// TestTwoRunnersOnOneEngine lets two installations use one engine: neither's crash, start and end touches the other's
// containers and networks.
func TestTwoRunnersOnOneEngine(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		one, two := m.runner(t, m.coordinator(t, gitlabtest.Options{})), m.runner(t, m.coordinator(t, gitlabtest.Options{}))
		one.start()
		two.start()
		g := m.gate(t)
		held := one.add(gitlabtest.JobSpec{Script: append(g.lines(), "echo went on"), Edit: withService})
		g.await(t)
		for range 2 {
			j, log := two.wait(two.add(gitlabtest.JobSpec{Script: []string{"nc web 80 < /dev/null"}, Edit: withService}))
			want(t, j, log, gitlabtest.StatusSuccess, "")
			two.restart()
		}
		g.open(t)
		j, log := one.wait(held)
		want(t, j, log, gitlabtest.StatusSuccess, "")
		contains(t, log, "01O went on")
	})
}

// TestManyContainersAtOnce runs many jobs with services at the same time, and kills the runner in the middle.
func TestManyContainersAtOnce(t *testing.T) { //nolint:paralleltest // an engine with forty jobs answers nobody else in time
	const many = 40
	onEngines(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}), "request_concurrency = 4")
		r.editConfig("concurrent = 10", fmt.Sprintf("concurrent = %d", many))
		r.m.own(t, r.config())
		r.patience = 3 * patience
		g := m.gate(t)
		var ids []int64
		for i := range many {
			ids = append(ids, r.add(gitlabtest.JobSpec{
				Script: append(append([]string{"nc web 80 < /dev/null"}, g.lines()...), fmt.Sprintf("echo job %d of many", i), fmt.Sprintf("exit %d", i%2)), Edit: withService,
			}))
		}
		r.start()
		untilWithin(t, r.patience, "all jobs run at once", func() bool { return g.door.visitors() == many })
		r.restart()
		g.open(t)
		for i, id := range ids {
			j, log := r.wait(id)
			if i%2 == 0 {
				want(t, j, log, gitlabtest.StatusSuccess, "")
			} else {
				want(t, j, log, gitlabtest.StatusFailed, "script_failure")
			}
			contains(t, log, "01O hello", fmt.Sprintf("01O job %d of many", i))
		}
	}, "podman")
}

// TestContainerTimeout ends a job whose processes do not want to end, some of them in sessions of their own.
func TestContainerTimeout(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.coordinator(t, gitlabtest.Options{}))
		r.start()
		g := m.gate(t)
		id, _, _ := r.timed(t, 0, g, gitlabtest.JobSpec{Script: []string{
			"trap '' TERM; (trap '' TERM; setsid sh -c 'while true; do sleep 1; done' &)", "echo said before", g.lines()[0], "while true; do sleep 1; done",
		}})
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusFailed, "job_execution_timeout")
		contains(t, log, "01O said before", "execution took longer than")
	})
}

// TestContainerBackgroundProcesses leaves processes behind in a script: none is there in after_script, or all are where
// the operator has said so.
func TestContainerBackgroundProcesses(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		for name, leave := range map[string]bool{"end with the stage": false, "stay for the job": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := m.runner(t, m.coordinator(t, gitlabtest.Options{}), fmt.Sprintf("leave_processes = %v", leave))
				r.start()
				j, log := r.wait(r.add(gitlabtest.JobSpec{
					Script: []string{
						"sleep 1111 > /dev/null 2>&1 &", "(trap '' TERM; setsid sh -c 'exec sleep 2222' > /dev/null 2>&1 &)",
						"until ps | grep -q '[s]leep 2222'; do sleep 0.05; done", "echo both are there",
					},
					AfterScript: []string{"echo left are $(ps | grep -c '[s]leep [12]')"},
				}))
				want(t, j, log, gitlabtest.StatusSuccess, "")
				left := 0
				if leave {
					left = 2
				}
				contains(t, log, "01O both are there", fmt.Sprintf("01O left are %d", left))
			})
		}
	})
}

// TestContainersShowNoSecret looks at what the engine tells of a job's containers, and at the runner's files.
func TestContainersShowNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "very-secret-value-of-a-variable"
	onEngines(t, func(t *testing.T, m machine) {
		r := m.runner(t, m.project(t, gitlabtest.Options{}))
		r.start()
		g, api := m.gate(t), m.client(t)
		id := r.add(gitlabtest.JobSpec{
			Project: "group/project", Script: append([]string{"test $SECRET = " + secret}, g.lines()...),
			Variables: []jobpayload.Variable{{Key: "SECRET", Value: secret, Masked: true}},
		})
		g.await(t)
		job, _ := r.co.Job(id)
		for _, part := range []string{"build", "helper", "slot"} {
			c, err := api.ContainerInspect(t.Context(), r.container(api, r.owner(t), part), client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []string{secret, job.Token, r.token} {
				if strings.Contains(string(c.Raw), s) {
					t.Errorf("what the engine tells of the %s container holds a secret", part)
				}
			}
		}
		for _, s := range []string{secret, job.Token, r.token} {
			for _, f := range readableByOthers(t, r.dir) {
				if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), s) {
					t.Errorf("%s can be read by others and holds a secret", f)
				}
			}
		}
		g.open(t)
		j, log := r.wait(id)
		want(t, j, log, gitlabtest.StatusSuccess, "")
	}, "podman")
}
