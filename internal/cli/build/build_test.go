package build_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/cli/build"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestImagesOnEngines makes both images for Nix of one base, and runs them.
func TestImagesOnEngines(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		id := strings.ToLower(rand.Text())
		base := "skerry.test/build-" + id + ":1"
		e.Load(t, enginetest.Image{
			Name: base, Entrypoint: []string{"/entry"}, User: "job", Env: []string{"NIX_REMOTE=local", "A=b"}, Labels: map[string]string{"mine": "1"}, Volumes: []string{"/nix/store"},
			Files: map[string]string{
				"/entry": "#!/bin/sh\necho entered\nexec \"$@\"\n", "/nix/store/aaa-nix/bin/nix-daemon": "#!/bin/sh\n", "/nix/var/nix/db/db.sqlite": "paths\n",
				"/nix/var/nix/profiles/default/bin/nix-daemon": "#!/bin/sh\n",
				"/bin/podman": "#!/bin/sh\n", "/bin/crun": "#!/bin/sh\n", "/bin/newuidmap": "#!/bin/sh\n", "/bin/newgidmap": "#!/bin/sh\n",
			},
		})
		api := e.Client(t)
		job, daemon := "skerry.test/job-"+id+":1", "skerry.test/daemon-"+id+":latest"
		nested := "skerry.test/nested-" + id + ":1"
		t.Cleanup(func() {
			for _, i := range []string{job, daemon, nested, base} {
				_, _ = api.ImageRemove(context.Background(), i, client.ImageRemoveOptions{Force: true})
			}
		})
		say := makeImage(t, e, "job", "--from", base, "--tag", job)
		if !strings.Contains(say, "Left out: 1 store paths") {
			t.Error(say)
		}
		again := makeImage(t, e, "job", "--from", base, "--tag", job)
		if again != say {
			t.Errorf("made again it is another one:\n%s\n%s", say, again)
		}
		out := output(t, e, job, "sh", "-c", "ls -A /nix/store | wc -l; ls /nix/var/nix; cat /etc/nix/nix.conf; id -u; echo $NIX_REMOTE $A; stat -c %a /tmp /etc /nix/var/nix/profiles/per-user")
		want := "entered\n0\ngcroots\nprofiles\ntemproots\nuserpool\nexperimental-features = nix-command flakes\n1000\ndaemon b\n1777\n755\n1777\n"
		if out != want {
			t.Errorf("in a job: %q, want %q", out, want)
		}
		engine := e.Connect(t)
		i, err := engine.Image(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		if i.Labels["mine"] != "1" || i.Labels["com.gitlab.skerry.nix"] != "path" || i.User != "job" || len(i.Volumes) != 0 {
			t.Errorf("%+v", i)
		}
		if say := makeImage(t, e, "nix-daemon", "--from", base, "--tag", strings.TrimSuffix(daemon, ":latest")); !strings.Contains(say, "Nix is /nix/var/nix/profiles/default/bin/nix-daemon") {
			t.Error(say)
		}
		if out := output(t, e, daemon, "cat", "/nix/var/nix/db/db.sqlite"); out != "entered\npaths\n" {
			t.Errorf("in the daemon's: %q", out)
		}
		if say := makeImage(t, e, "podman", "--from", base, "--tag", nested); !strings.Contains(say, "Podman is /bin/podman") {
			t.Error(say)
		}
		if out := output(t, e, nested, "sh", "-c", "stat -c %u:%g /home/podman/.local/share/containers; cat /etc/subuid"); out != "entered\n1000:1000\npodman:1:999\npodman:1001:64535\n" {
			t.Errorf("in that of engines: %q", out)
		}
	})
}

// makeImage runs `image build`.
func makeImage(t *testing.T, e enginetest.Engine, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	p := &program.Program{Streams: program.Streams{Out: &out, Err: io.Discard}, Logger: slog.New(slog.DiscardHandler), Env: os.LookupEnv, UID: os.Getuid()}
	cmd := build.New(p)
	cmd.SetArgs(append([]string{"build", "--host", e.Address.Host}, args...))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// output runs a command in a container of an image.
func output(t *testing.T, e enginetest.Engine, image string, command ...string) string {
	t.Helper()
	engine := e.Connect(t)
	name := "skerry-test-" + strings.ToLower(rand.Text())
	t.Cleanup(func() { _ = engine.Remove(context.Background(), name) })
	_, err := engine.Create(t.Context(), client.ContainerCreateOptions{
		Name: name, Config: &container.Config{Image: image, Cmd: command}, HostConfig: &container.HostConfig{NetworkMode: "none"},
	})
	if err == nil {
		err = engine.Start(t.Context(), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := e.Client(t).ContainerWait(t.Context(), name, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case err := <-w.Error:
		t.Fatal(err)
	case <-w.Result:
	}
	out, err := engine.Logs(t.Context(), name, 100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
