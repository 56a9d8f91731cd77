package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/image/podmantest"
)

// podman is a user of rootless Podman with a home of its own, and so an engine of its own.
type podman struct {
	t   *testing.T
	m   machine
	dir string // home and the working directory of its commands
	env []string
}

// newPodman gives the engine's user a home for a test. All that is in it goes with the test.
func newPodman(t *testing.T, m machine) *podman {
	t.Helper()
	dir, err := os.MkdirTemp(m.user.HomeDir, "e2e")
	if err != nil {
		t.Fatal(err)
	}
	p := &podman{t: t, m: m, dir: dir, env: []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir + "/run"}}
	for _, d := range []string{"", "run", ".config", ".config/containers"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
		m.own(t, filepath.Join(dir, d))
	}
	for _, f := range []string{"storage.conf", "containers.conf"} { // as this machine needs them
		p.write(filepath.Join(".config/containers", f), readFile(t, filepath.Join(m.user.HomeDir, ".config/containers", f)))
	}
	t.Cleanup(func() {
		_, _ = p.try(nil, "rm", "-fa", "-t", "0")
		_, _ = p.try(nil, "system", "migrate") // ends the process that holds its user namespace
		if out, err := p.as("podman", "unshare", "rm", "-rf", filepath.Join(dir, ".local")).CombinedOutput(); err != nil {
			t.Errorf("remove what the engine had: %v: %s", err, out)
		}
		_, _ = p.try(nil, "system", "migrate")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *podman) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.m.own(p.t, path)
}

// as is a command of the user's.
func (p *podman) as(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	p.m.as(p.t, cmd, p.env)
	cmd.Dir = p.dir
	return cmd
}

// try runs a command of Podman.
func (p *podman) try(in io.Reader, args ...string) (string, error) {
	cmd := p.as("podman", args...)
	var out, says bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &says
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("podman %s: %w: %s%s", strings.Join(args, " "), err, out.String(), says.String())
	}
	return out.String(), nil
}

// run is try for what has to work. in may be empty.
func (p *podman) run(in string, args ...string) string {
	p.t.Helper()
	out, err := p.try(strings.NewReader(in), args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// buildRunnerImage builds images/runner of the program of these tests, and of Debian's Podman in the place of Debian.
func (p *podman) buildRunnerImage(co *gitlabtest.Coordinator, image string) {
	p.t.Helper()
	context := filepath.Join(p.dir, "images-runner") // the user need not get at the source tree
	if err := os.Mkdir(context, 0o755); err != nil {
		p.t.Fatal(err)
	}
	binary, err := program()
	if err != nil {
		p.t.Fatal(err)
	}
	for from, to := range map[string]string{
		"../../images/runner/Containerfile": "Containerfile", "../../images/runner/install.sh": "install.sh", binary: "skerry-linux-" + runtime.GOARCH,
	} {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(context, to), b, 0o755)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	p.run("", "load", "-q", "-i", podmantest.BaseArchive())
	p.run("", "build", "-q", "-t", image, "--build-arg", "BASE="+podmantest.BaseName, "--build-arg", "GITLAB_URL="+co.URL(), "--build-arg", "DEFAULT_JOB_IMAGE="+jobImage, context)
}

// TestRunnerImage goes through the steps of pipglr's README, in their order and by its very commands, with this image's name: from the build to a pipeline.
// Then the runner dies in its container, the container is started again, and all is removed.
func TestRunnerImage(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		podmantest.Base(t)
		co := m.project(t, gitlabtest.Options{})
		p := newPodman(t, m)
		const image = "localhost/skerry-runner:latest"
		p.buildRunnerImage(co, image)
		token := co.AddRunner(gitlabtest.RunnerSpec{}).Token

		// Runner Activation/Registration (step 3), twice
		p.run(token+"\n", "secret", "create", "REGISTRATION_TOKEN", "-")
		p.write("config.toml", "")
		p.run("", "container", "runlabel", "register", image)
		p.run("", "container", "runlabel", "register", image)
		p.run("", "secret", "rm", "REGISTRATION_TOKEN")
		// Runner Configuration (step 4): there is no registry
		config := readFile(t, filepath.Join(p.dir, "config.toml"))
		if n := strings.Count(config, "[[runners]]"); n != 2 {
			t.Errorf("registered twice, and the configuration has %d runners:\n%s", n, config)
		}
		config = "concurrent = 4\ncheck_interval = 1\n" + strings.ReplaceAll(strings.ReplaceAll(config, "concurrent = 1\n", ""), "[runners.docker]\n", "[runners.docker]\npull_policy = \"if-not-present\"\n")
		p.write("config.toml", config)
		p.run("", "secret", "create", "config.toml", "./config.toml")
		// Volume Setup (step 5)
		p.run("", "container", "runlabel", "setupstorage", image)
		p.run("", "container", "runlabel", "setupcache", image)
		// Runner Startup (step 6)
		p.run("", "container", "runlabel", "run", image)
		t.Cleanup(func() {
			if t.Failed() {
				out, err := p.try(nil, "logs", "pipglr")
				t.Logf("the container's log: %v\n%s", err, out)
			}
		})
		if out := p.run("", "container", "runlabel", "dumpconfig", image); out != config {
			t.Errorf("dumpconfig says %q, want %q", out, config)
		}
		r := &inContainer{podman: p, co: co}
		r.load(enginetest.Image{Name: jobImage})
		r.jobs()
	}, "rootless")
}

// inContainer is the runner in its container.
type inContainer struct {
	*podman
	co *gitlabtest.Coordinator
}

// load gives the engine in the container an image.
func (r *inContainer) load(i enginetest.Image) {
	r.t.Helper()
	var archive bytes.Buffer
	if err := enginetest.Archive(&archive, i); err != nil {
		r.t.Fatal(err)
	}
	untilWithin(r.t, patience, "the engine in the container is there", func() bool {
		_, err := r.try(nil, "exec", "pipglr", "skerry", "supervise", "health")
		return err == nil
	})
	if _, err := r.try(&archive, "exec", "-i", "pipglr", "podman", "--url", "unix:///run/podman/podman.sock", "load"); err != nil {
		r.t.Fatal(err)
	}
}

// jobs runs some.
func (r *inContainer) jobs() {
	t := r.t
	t.Helper()
	run := func(script ...string) (gitlabtest.Job, string) {
		t.Helper()
		id, err := r.co.AddJob(t.Context(), gitlabtest.JobSpec{Project: "group/project", Script: script})
		if err != nil {
			t.Fatal(err)
		}
		return (&runner{t: t, co: r.co}).wait(id)
	}
	j, log := run("cat README", "echo kept > /cache/kept", "id -u")
	want(t, j, log, gitlabtest.StatusSuccess, "")
	contains(t, log, "hello")
	_ = slices.Contains[[]string]
}
