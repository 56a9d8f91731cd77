package container_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ctr "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// close ends a job before its test does.
func (r *run) close() {
	r.t.Helper()
	if err := r.env.Close(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// dropVolumes removes the volumes of the bench's owner when the test ends.
func (b *bench) dropVolumes(t *testing.T) {
	t.Helper()
	api, engine := b.e.Client(t), b.e.Connect(t)
	t.Cleanup(func() {
		for _, name := range b.volumes(t, api) {
			if err := engine.RemoveVolume(context.Background(), name); err != nil {
				t.Error(err)
			}
		}
	})
}

func (b *bench) volumes(t *testing.T, api *client.Client) []string {
	t.Helper()
	own := client.VolumeListOptions{Filters: make(client.Filters).Add("label", "com.gitlab.skerry.owner="+string(b.owner))}
	var names []string
	for _, v := range listed(t, func() (client.VolumeListResult, error) { return api.VolumeList(context.Background(), own) }).Items {
		names = append(names, v.Name)
	}
	return names
}

// TestVolumesOfJobs wants a project's volumes to be used again by its jobs of one protectedness, one at a time.
func TestVolumesOfJobs(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		o := b.o
		o.Volumes = []string{"/data", "deps"}
		const look = "cat /builds/x /cache/x /data/x deps/x 2>/dev/null || true"
		put := func(what string) string {
			return "for d in /builds /cache /data deps; do echo " + what + " > $d/x; done"
		}
		job := func(protected bool) *job.Job {
			j := theJob("")
			j.Git.Protected = protected
			return j
		}
		first := b.prepare(t, o, job(false))
		if got := first.script(executor.Helper, look); got != "" {
			t.Errorf("the first job finds %q", got)
		}
		first.script(executor.Build, put("first"))
		beside := b.prepare(t, o, job(false))
		if got := beside.script(executor.Build, look); got != "" {
			t.Errorf("a job beside the first finds %q", got)
		}
		beside.close()
		first.close()
		if got := b.prepare(t, o, job(true)).script(executor.Build, look); got != "" {
			t.Errorf("a protected job finds %q", got)
		}
		next := b.prepare(t, o, job(false))
		if got, want := next.script(executor.Build, look), "first\nfirst\nfirst\nfirst"; got != want {
			t.Errorf("the next job finds %q, want %q", got, want)
		}
		other := job(false)
		other.ProjectID = 99
		if got := b.prepare(t, o, other).script(executor.Build, look); got != "" {
			t.Errorf("a job of another project finds %q", got)
		}
	})
}

// TestVolumeForms mounts what entries of volumes can name.
func TestVolumeForms(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		dir := t.TempDir()
		named := "skerrytest-" + executor.NewRef("x").ID
		api := e.Client(t)
		t.Cleanup(func() { _, _ = api.VolumeRemove(context.Background(), named, client.VolumeRemoveOptions{Force: true}) })
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("of the host\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		donor := b.other(t, client.ContainerCreateOptions{
			Config: &ctr.Config{Volumes: map[string]struct{}{"/donated": {}}}, HostConfig: &ctr.HostConfig{},
		})
		o := b.o
		o.Volumes = []string{dir + ":/ro:ro", dir + ":/rw:z", named + ":$CI_PROJECT_DIR/named", dir + "/file:/etc/one"}
		o.VolumesFrom = []string{donor}
		for _, place := range []executor.Place{executor.Helper, executor.Build} {
			r := b.prepare(t, o, theJob(""))
			line := "cat /ro/file /etc/one; touch /ro/x 2>/dev/null || echo refused; echo " + string(place) + " >> named/x; touch /donated/y /rw/y-" + string(place)
			if got, want := r.script(place, line), "of the host\nof the host\nrefused"; got != want {
				t.Errorf("%s sees %q, want %q", place, got, want)
			}
			if _, err := os.Stat(filepath.Join(dir, "y-"+string(place))); err != nil {
				t.Error(err)
			}
			r.close()
		}
		if got := b.prepare(t, o, theJob("")).script(executor.Build, "cat named/x"); got != "helper\nbuild" {
			t.Errorf("the named volume holds %q", got)
		}
	})
}

// TestNothingKept wants disable_cache to leave no volume, also of a job that was abandoned, and cache_dir to
// use a directory of the host.
func TestNothingKept(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		api := e.Client(t)
		o := b.o
		o.DisableCache, o.Volumes = true, []string{"/data"}
		r := b.prepare(t, o, theJob(""))
		r.script(executor.Build, "touch /data/x /cache/x")
		if got := b.volumes(t, api); len(got) != 3 {
			t.Errorf("volumes of a job that runs: %v, want 3", got)
		}
		r.close()
		left := b.prepare(t, o, theJob(""))
		left.script(executor.Helper, "touch /data/y")
		left.script(executor.Build, "test ! -e /data/x")
		if err := container.New(o, newHost(t), quiet(t)).Reconcile(t.Context(), b.owner, nil); err != nil {
			t.Error(err)
		}
		if got := b.volumes(t, api); len(got) != 0 {
			t.Errorf("volumes are left: %v", got)
		}

		b = newBench(t, e) // reconciling has taken the networks
		o = b.o
		o.HostCacheDir = filepath.Join(t.TempDir(), "caches")
		host := b.prepare(t, o, theJob(""))
		host.script(executor.Helper, "echo kept > /cache/x")
		host.close()
		if got := b.prepare(t, o, theJob("")).script(executor.Build, "cat /cache/x; rm -rf /cache/* /builds/* || true"); got != "kept" {
			t.Errorf("the host's cache directory holds %q", got)
		}
		if found, _ := filepath.Glob(o.HostCacheDir + "/*"); len(found) != 2 {
			t.Errorf("directories on the host: %v", found)
		}
	})
}

// TestUsers wants jobs of users that are not root to work with the project, and what they leave to be removed.
func TestUsers(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		name := image(t, e, enginetest.Image{User: "1000"})
		const files = "mkdir -p dir && echo x > dir/file && ln -s / out && umask"
		env := []stage.Var{{Key: "SECRET", Value: "v", File: "/builds/group/project.tmp/SECRET"}}
		try := func(t *testing.T, r *run, own bool) (before, after string) {
			t.Helper()
			before = r.script(executor.Helper, files)
			_, hello, err := r.dial(executor.Build)
			if err != nil {
				t.Fatal(err)
			}
			if _, res := r.stage(executor.Helper, stage.Spec{Dir: "/builds/group/project", Base: "/builds", Mixed: true, Env: env, Script: &stage.Script{Lines: []string{"true"}, Umask: -1}}); res.Reason != stage.Success {
				t.Errorf("helper: %+v", res)
			}
			if own {
				spec := stage.Spec{Base: "/builds", Own: &stage.Own{Paths: []string{"/builds/group/project", "/builds/group/project.tmp"}, UID: hello.UID, GID: hello.GID}}
				if out, res := r.stage(executor.Helper, spec); res.Reason != stage.Success {
					t.Errorf("own: %+v %s", res, out)
				}
			}
			out, res := r.stage(executor.Build, stage.Spec{
				Dir: "/builds/group/project", Base: "/builds", Mixed: true, Env: env,
				Script: &stage.Script{Lines: []string{"cat $SECRET && echo y >> dir/file && touch new && rm dir/file && stat -c %u:%a . new && stat -c %u / && echo $HOME"}, Umask: -1},
			})
			if res.Reason != stage.Success {
				t.Errorf("build: %+v\n%s", res, out)
			}
			_, after, _ = strings.Cut(out, "\x1b[0;m\n")
			return before, strings.TrimSpace(after)
		}
		t.Run("volumes", func(t *testing.T) {
			o := b.o
			o.Volumes = []string{"/data", "deps"}
			j := theJob(name)
			j.ProjectID = 3
			r := b.prepare(t, o, j)
			r.script(executor.Helper, "true")
			if got := r.script(executor.Build, "for d in /builds /cache /data deps; do touch $d/x && rm $d/x && stat -c %a $d; done"); got != "777\n777\n777\n777" {
				t.Errorf("the build sees %q", got)
			}
			r.close()
		})
		t.Run("umask", func(t *testing.T) {
			umask, after := try(t, b.prepare(t, b.o, theJob(name)), false)
			if umask != "0000" {
				t.Errorf("the helper's umask is %s", umask)
			}
			if want := "v0:777\n1000:644\n0\n/home"; after != want {
				t.Errorf("the build sees %q, want %q", after, want)
			}
		})
		t.Run("owner", func(t *testing.T) {
			j := theJob(name, "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR=true")
			j.Git.Protected = true // volumes of its own
			r := b.prepare(t, b.o, j)
			umask, after := try(t, r, true)
			if umask != "0022" {
				t.Errorf("the helper's umask is %s", umask)
			}
			if want := "v1000:755\n1000:644\n0\n/home"; after != want {
				t.Errorf("the build sees %q, want %q", after, want)
			}
			if log := r.log.String(); !strings.Contains(log, "Not using umask") {
				t.Errorf("the log does not say that there is no umask: %s", log)
			}
		})
	})
}

// TestLinks wants a container that links names to be reached by its alias, and to be let go of.
func TestLinks(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		name := b.other(t, client.ContainerCreateOptions{Config: &ctr.Config{}, HostConfig: &ctr.HostConfig{NetworkMode: "bridge"}})
		o := b.o
		o.Build.Links = []string{name + ":database"}
		for range 2 {
			r := b.prepare(t, o, theJob(""))
			if got := r.script(executor.Build, "until nc -w 5 database 7 </dev/null 2>/dev/null | grep reached; do sleep 0.3; done"); got != "reached" {
				t.Errorf("got %q", got)
			}
			r.close()
		}
	})
}

// TestNetworks wants the network that network_mode names to be the job's.
func TestNetworks(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		api, engine := e.Client(t), e.Connect(t)
		name := "skerrytest-" + executor.NewRef("x").ID
		if _, err := api.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{Driver: "bridge"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := engine.RemoveNetwork(context.Background(), name); err != nil {
				t.Error(err)
			}
		})
		other := b.other(t, client.ContainerCreateOptions{Config: &ctr.Config{}, HostConfig: &ctr.HostConfig{NetworkMode: ctr.NetworkMode(name)}})
		address := ""
		for _, mode := range []string{"container:" + other, name} {
			o := b.o
			o.NetworkMode = mode
			r := b.prepare(t, o, theJob(""))
			got := r.script(executor.Build, "ip -o -4 addr show eth0")
			if same := got == address; got == "" || same {
				t.Errorf("network_mode = %q: %q", mode, got)
			}
			address = got
			r.script(executor.Helper, "true")
			r.close()
		}
	})
}
