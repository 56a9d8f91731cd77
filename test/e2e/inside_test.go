package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
)

// inside is a runner in a container that has nothing of this machine but the engine's socket, and its state in a volume.
type inside struct {
	t      *testing.T
	m      machine
	name   string // of container and volume
	api    *client.Client
	config string

	installed *runner // has the configuration, and is not started
}

func newInside(t *testing.T, m machine, co *gitlabtest.Coordinator) *inside {
	t.Helper()
	i := &inside{t: t, m: m, name: "skerry-e2e-inside-" + executor.NewRef("x").ID, api: m.client(t)}
	host := m.engine.Address.Host
	i.installed = m.runner(t, co)
	i.config = strings.Replace(readFile(t, i.installed.config()), host, "unix:///run/engine.sock", 1)
	if _, err := i.api.NetworkCreate(t.Context(), i.name, client.NetworkCreateOptions{Driver: "bridge"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		i.remove()
		if _, err := i.api.NetworkRemove(context.Background(), i.name, client.NetworkRemoveOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := i.api.VolumeRemove(context.Background(), i.name, client.VolumeRemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	})
	return i
}

// start starts the runner in a new container.
func (i *inside) start() {
	t := i.t
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, content := range map[string]string{"t/skerry": readFile(t, path), "t/bin/agent": readFile(t, i.m.agent(t)), "t/config.toml": i.config} {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o700, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = i.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: i.name,
		Config: &container.Config{
			Image: jobImage, Cmd: []string{"/t/skerry", "run", "--working-directory", "/state", "--config", "/t/config.toml"},
			Env: []string{"SKERRY_AGENT=/t/bin/agent", "HOME=/"},
		},
		HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(i.name), Mounts: []mount.Mount{
			{Type: mount.TypeBind, Source: strings.TrimPrefix(i.m.engine.Address.Host, "unix://"), Target: "/run/engine.sock"},
			{Type: mount.TypeVolume, Source: i.name, Target: "/state"},
		}},
	})
	if err == nil {
		_, err = i.api.CopyToContainer(t.Context(), i.name, client.CopyToContainerOptions{DestinationPath: "/", Content: &archive})
	}
	if err == nil {
		_, err = i.api.ContainerStart(t.Context(), i.name, client.ContainerStartOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// log is what the runner says.
func (i *inside) log() string {
	r, err := i.api.ContainerLogs(context.Background(), i.name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	var out bytes.Buffer
	_, _ = out.ReadFrom(r)
	return out.String()
}

// remove removes the container as it is, which kills the runner.
func (i *inside) remove() {
	if i.t.Failed() {
		i.t.Logf("the runner in its container:\n%s", i.log())
	}
	_, _ = i.api.ContainerRemove(context.Background(), i.name, client.ContainerRemoveOptions{Force: true})
}

// owner is runner.owner.
func (i *inside) owner() string {
	t := i.t
	t.Helper()
	c, err := i.api.CopyFromContainer(t.Context(), i.name, client.CopyFromContainerOptions{SourcePath: "/state/.skerry/identity"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Content.Close()
	files := tar.NewReader(c.Content)
	if _, err := files.Next(); err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	return ownerIn(t, content)
}

// drain ends the runner when its jobs are over and what it keeps for others is removed.
func (i *inside) drain() {
	t := i.t
	t.Helper()
	until(t, "the runner is ready", func() bool { return strings.Contains(i.log(), "Runner is ready") })
	if _, err := i.api.ContainerKill(t.Context(), i.name, client.ContainerKillOptions{Signal: "QUIT"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the runner ends", func() bool {
		c, err := i.api.ContainerInspect(t.Context(), i.name, client.ContainerInspectOptions{})
		return err == nil && !c.Container.State.Running
	})
}

// TestRunnerInAContainer runs a job of every stage by a runner in a container, which is removed in the middle of the
// script: another on the same volume finishes the job, and leaves nothing.
func TestRunnerInAContainer(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		co := m.project(t, gitlabtest.Options{TraceInterval: 1})
		i := newInside(t, m, co)
		i.start()
		g := m.gate(t)
		spec := wholeJob(0)
		spec.Dependencies = nil
		spec.Script = append(append([]string{"cat README"}, g.lines()...), spec.Script[1:]...)
		id, err := co.AddJob(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		g.await(t)
		until(t, "the runner says that it shares no directories", func() bool { // an engine may be late with logs
			return strings.Contains(i.log(), "shares no directories with this runner")
		})
		i.remove()
		co.RunnerDied()
		i.start()
		g.open(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		j, err := co.Wait(ctx, id)
		log, _ := co.Trace(id)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		want(t, j, string(log), gitlabtest.StatusFailed, "script_failure")
		contains(t, string(log), "01O hello", "01O line 10", "01E error 10", "01O after failed", m.says(3))
		if j.ExitCode != 3 || len(j.Artifacts) != 1 {
			t.Errorf("exit code %d, artifacts %v", j.ExitCode, j.Artifacts)
		}
		i.drain()
		things, volumes := i.installed.owned(i.api, i.owner())
		if len(things) > 0 {
			t.Errorf("left on the engine: %s", strings.Join(things, ", "))
		}
		i.installed.purge(i.api, i.owner(), volumes)
	})
}
