package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/image"
	"gitlab.com/skerry/skerry/internal/image/podmantest"
)

// buildRunnerImage builds images/runner of the program of these tests, and of Debian's Podman in the place of Debian.
func (p *podman) buildRunnerImage(co *gitlabtest.Coordinator, name string) {
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
		"../../images/runner/Containerfile": "Containerfile", "../../images/runner/install.sh": "install.sh", "../../images/runner/register.sh": "register.sh", binary: "skerry-linux-" + runtime.GOARCH,
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
	p.run("", "build", "-q", "-t", name, "--build-arg", "BASE="+podmantest.BaseName, "--build-arg", "GITLAB_URL="+co.URL(), "--build-arg", "DEFAULT_JOB_IMAGE="+nestingImage,
		"--build-arg", "PRUNE_INTERVAL=off", context) // at midnight the image of jobs would go while there is none
}

// TestRunnerImage goes through the steps of pipglr's README, in their order and by its very commands, with this image's name: from the build to a pipeline.
// Then the runner dies in its container, the container is started again, and all is removed.
func TestRunnerImage(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, m machine) {
		podmantest.Base(t)
		co := m.project(t, gitlabtest.Options{})
		p := newPodman(t, m)
		const name = "localhost/skerry-runner:latest"
		p.buildRunnerImage(co, name)
		token := co.AddRunner(gitlabtest.RunnerSpec{}).Token

		p.sameOptions(name)

		// Runner Activation/Registration (step 3), twice
		p.run(token+"\n", "secret", "create", "REGISTRATION_TOKEN", "-")
		p.write("config.toml", "")
		p.run("", "container", "runlabel", "register", name)
		p.run("", "container", "runlabel", "register", name)
		p.run("", "secret", "rm", "REGISTRATION_TOKEN")
		managers(t, co, 0)
		// Runner Configuration (step 4): there is no registry
		config := readFile(t, filepath.Join(p.dir, "config.toml"))
		if n := strings.Count(config, "[[runners]]"); n != 2 {
			t.Errorf("registered twice, and the configuration has %d runners:\n%s", n, config)
		}
		config = strings.ReplaceAll(strings.ReplaceAll(config, "concurrent = 1\n", ""), "[runners.docker]\n", "[runners.docker]\npull_policy = \"if-not-present\"\n")
		config = strings.ReplaceAll(config, "volumes = [", `volumes = ["/usr:/usr:ro", "/home/runner/podman.sock:/var/run/docker.sock", `)
		config = withNested("concurrent = 4\ncheck_interval = 1\n"+config, co.AddRunner(gitlabtest.RunnerSpec{Tags: []string{nestedTag}, TaggedOnly: true}).Token)
		p.write("config.toml", config)
		p.run("", "secret", "create", "config.toml", "./config.toml")
		// Volume Setup (step 5)
		p.run("", "container", "runlabel", "setupstorage", name)
		p.run("", "container", "runlabel", "setupcache", name)
		// Runner Startup (step 6)
		p.run("", "container", "runlabel", "run", name)
		t.Cleanup(func() {
			if t.Failed() {
				out, err := p.try(nil, "logs", "pipglr")
				t.Logf("the container's log: %v\n%s", err, out)
			}
		})
		if out := p.run("", "container", "runlabel", "dumpconfig", name); out != config {
			t.Errorf("dumpconfig says %q, want %q", out, config)
		}
		r := &inContainer{podman: p, co: co}
		r.awaitHealth()
		// Podman is that of the container, in the place of an image with one.
		r.load(enginetest.Image{Name: nestingImage, Links: map[string]string{"/lib": "usr/lib", "/lib64": "usr/lib64"},
			Files: map[string]string{"/etc/containers/policy.json": `{"default": [{"type": "insecureAcceptAnything"}]}`}})
		r.loadEngine()
		r.outlives()
		r.nest()
		r.otherUsers()
		r.spoils()
		r.restarted([]string{"said before", "the runner was stopped while the job ran"}, []string{"restart", "pipglr"})
		r.restarted([]string{"was ended together with its engine"}, []string{"kill", "-s", "KILL", "pipglr"}, []string{"wait", "pipglr"}, []string{"start", "pipglr"})
		r.clean()
		managers(t, co, 1)
		r.uninstall(name)
	}, "rootless")
}

// managers wants GitLab to show as many machines for the runner.
func managers(t *testing.T, co *gitlabtest.Coordinator, n int) {
	t.Helper()
	for _, r := range co.Runners() {
		if len(r.Managers) != n {
			t.Errorf("the runner has the machines %q, want %d", r.Managers, n)
		}
	}
}

// sameOptions compares the ways to start the container: the label, the Quadlet file as quadlet understands it, and the manual.
func (p *podman) sameOptions(name string) {
	p.t.Helper()
	options := func(line string) []string {
		var all []string
		words := strings.Fields(line)
		for i, w := range words[:len(words)-1] {
			if slices.Contains([]string{"-v", "--name", "--stop-timeout", "--secret", "--device", "--security-opt"}, w) {
				all = append(all, w+" "+words[i+1])
			}
		}
		slices.Sort(all)
		return all
	}
	want := options(p.run("", "container", "runlabel", "--display", "run", name))
	if len(want) < 8 {
		p.t.Errorf("the label run has %q", want)
	}
	_, line, _ := strings.Cut(readFile(p.t, "../../docs/runner-image.md"), "\npodman run -d ")
	line, _, _ = strings.Cut(line, "\n```")
	if diff := cmp.Diff(want, options(line)); diff != "" {
		p.t.Errorf("the manual has other options than the label run:\n%s", diff)
	}
	p.write("skerry.container", readFile(p.t, "../../images/runner/skerry.container"))
	out := p.run("", "run", "--rm", "--network", "none", "-v", "./skerry.container:/units/skerry.container:ro", "-e", "QUADLET_UNIT_DIRS=/units",
		"--entrypoint", "/usr/libexec/podman/quadlet", name, "--user", "--dryrun")
	_, line, _ = strings.Cut(out, "\nExecStart=")
	line, _, _ = strings.Cut(line, "\n")
	if diff := cmp.Diff(want, options(line)); diff != "" {
		p.t.Errorf("the Quadlet file has other options than the label run:\n%s\n%s", diff, out)
	}
}

// nestingImage is the image of jobs.
const nestingImage = "skerry.test/runner-job:latest"

// inContainer is the runner in its container.
type inContainer struct {
	*podman
	co *gitlabtest.Coordinator
}

// awaitHealth returns when engine and runner in the container work.
func (r *inContainer) awaitHealth() {
	r.t.Helper()
	untilWithin(r.t, 3*patience, "runner and engine in the container work", func() bool {
		_, err := r.try(nil, "exec", "pipglr", "skerry", "supervise", "health")
		return err == nil
	})
}

// engine runs a command of the engine in the container, as everybody can who has its socket.
func (r *inContainer) engine(in io.Reader, args ...string) (string, error) {
	return r.try(in, append([]string{"exec", "-i", "-u", "podman", "pipglr", "podman", "--url", "unix:///run/podman/podman.sock"}, args...)...)
}

// load gives the engine in the container an image.
func (r *inContainer) load(i enginetest.Image) {
	r.t.Helper()
	var archive bytes.Buffer
	err := enginetest.Archive(&archive, i)
	if err == nil {
		_, err = r.engine(&archive, "load")
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// add queues a job.
func (r *inContainer) add(script ...string) int64 {
	r.t.Helper()
	id, err := r.co.AddJob(r.t.Context(), gitlabtest.JobSpec{Project: "group/project", Script: script})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *inContainer) wait(id int64) (gitlabtest.Job, string) {
	r.t.Helper()
	return (&runner{t: r.t, co: r.co}).wait(id)
}

// nest runs containers in a job, by an engine in it and by the one that the job itself is run by.
func (r *inContainer) nest() {
	r.t.Helper()
	j, log := r.wait(r.add("cat README", "mkdir -p /var/tmp", "export PATH=$PATH:/usr/bin:/usr/sbin PODMAN_IGNORE_CGROUPSV1_WARNING=1",
		"mkdir r && cp /bin/busybox r/ && tar -C r -c . | podman import -q - box", "podman run --rm --cgroups=disabled box /busybox echo in a container in a container",
		`printf 'FROM box\nRUN ["/busybox", "touch", "/made"]\n' > r/Containerfile && podman build -q -t built r && podman run --rm --cgroups=disabled --network host built /busybox ls /made`,
		"podman --url unix:///var/run/docker.sock run --rm "+nestingImage+" echo beside the job"))
	want(r.t, j, log, gitlabtest.StatusSuccess, "")
	contains(r.t, log, "hello", "01O in a container in a container", "01O /made", "01O beside the job")
}

// otherUsers makes files of several users in a job. None may belong to root or the runner of the container.
func (r *inContainer) otherUsers() {
	t := r.t
	t.Helper()
	j, log := r.wait(r.add("echo kept > /cache/kept", "for u in 0 1 999 1000 1001 1002 60000; do touch /cache/$u; chown $u:$u /cache/$u; done", "cat /proc/self/uid_map /proc/self/gid_map | sed 's/^ */map /; s/  */ /g'"))
	want(t, j, log, gitlabtest.StatusSuccess, "")
	contains(t, log, "map 0 1000 1", "map 1 1 999", "map 1000 1002 ")
	owners := strings.Fields(r.run("", "exec", "pipglr", "sh", "-c", "cd /cache && stat -c %u:%g 0 1 999 1000 1001 1002 60000"))
	if diff := cmp.Diff([]string{"1000:1000", "1:1", "999:999", "1002:1002", "1003:1003", "1004:1004", "60002:60002"}, owners); diff != "" {
		t.Errorf("owners of files of a job's users in the container (-want +got):\n%s", diff)
	}
	// Whoever has the engine has no more than its user.
	out, err := r.engine(nil, "run", "--rm", "--privileged", "--network", "host", "--pid", "host", "-v", "/:/all", nestingImage, "sh", "-c",
		`for f in /run/secrets/config.toml `+image.RunnerState+`/identity; do cat /all$f && echo read $f; done
others=0; for p in /proc/[0-9]*; do if [ "$(stat -c %u $p)" = 65534 ]; then others=$((others+1)); kill -0 ${p#/proc/} && echo signalled $p; cat $p/environ && echo read $p/environ; fi; done
[ $others -ge 2 ] || echo "supervise and the runner are not seen: $others"
touch /all/usr/local/bin/skerry /all/etc/passwd && echo written; true`)
	if err != nil || out != "" {
		t.Errorf("with the engine one gets %q, %v", out, err)
	}
}

// spoils gives the caches to a user of a job's: that must not keep the container from starting again.
func (r *inContainer) spoils() {
	r.t.Helper()
	j, log := r.wait(r.add("chown 1000:1000 /cache"))
	want(r.t, j, log, gitlabtest.StatusSuccess, "")
}

// outlives kills the runner while a job with an engine of its own runs: its successor ends the job.
func (r *inContainer) outlives() {
	t := r.t
	t.Helper()
	g := r.m.gate(t)
	id := r.addNested(append(append([]string{
		"echo said before",
		"podman --remote run -d --name web --network host -v $PWD:/src box /bin/busybox sh -c 'for u in 0 1 999 1000 1001 60000; do /bin/busybox touch /src/owned-$u; /bin/busybox chown $u:$u /src/owned-$u; done; exec /bin/busybox httpd -f -p 8099 -h /src'",
		"until wget -q -O- http://docker:8099/README; do sleep 0.1; done",
	}, g.lines()...), "podman --remote exec web /bin/busybox echo goes on", "exit 7")...)
	g.await(t)
	r.nestedJob(r.othersAddress())
	r.run("", "exec", "pipglr", "sh", "-c", "for p in /proc/[0-9]*; do if [ $(stat -c %u $p) = 1001 ]; then kill -KILL ${p#/proc/}; fi; done; true")
	r.co.RunnerDied()
	g.open(t)
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusFailed, "script_failure")
	contains(t, log, "said before", "01O hello", "01O goes on", "exit code 7")
	if n := g.door.visitors(); n != 1 {
		t.Errorf("the script ran %d times", n)
	}
}

// restarted starts the container again by commands of Podman while a job runs, which cannot live on: it says why.
func (r *inContainer) restarted(says []string, commands ...[]string) {
	t := r.t
	t.Helper()
	g := r.m.gate(t)
	id := r.add(append(append([]string{"echo said before"}, g.lines()...), "exit 7")...)
	g.await(t)
	for _, c := range commands {
		r.run("", c...)
	}
	r.co.RunnerDied() // it may not have had the time to end by itself
	r.awaitHealth()
	j, log := r.wait(id)
	want(t, j, log, gitlabtest.StatusFailed, "runner_system_failure")
	contains(t, log, says...)
}

// clean wants nothing to be left of jobs.
func (r *inContainer) clean() {
	t := r.t
	t.Helper()
	j, log := r.wait(r.add("cat /cache/kept"))
	want(t, j, log, gitlabtest.StatusSuccess, "")
	until(t, "nothing is left of the jobs", func() bool {
		out, err := r.engine(nil, "ps", "-a", "--format", "{{.Names}}")
		return err == nil && !strings.Contains(out, "-build") && !strings.Contains(out, "-helper")
	})
}

// uninstall is what docs/runner-image.md says.
func (r *inContainer) uninstall(name string) {
	r.t.Helper()
	r.run("", "rm", "-f", "pipglr")
	r.run("", "volume", "rm", "pipglr-storage", "pipglr-cache", "pipglr-state")
	r.run("", "secret", "rm", "config.toml")
	r.run("", "rmi", name)
	for _, list := range [][]string{{"ps", "-aq"}, {"volume", "ls", "-q"}, {"secret", "ls", "-q"}} {
		if out := r.run("", list...); out != "" {
			r.t.Errorf("podman %s: %s", strings.Join(list, " "), out)
		}
	}
}
