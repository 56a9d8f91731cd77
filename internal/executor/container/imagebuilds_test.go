package container_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/image/podmantest"
	"gitlab.com/skerry/skerry/internal/pipeline"
	"gitlab.com/skerry/skerry/internal/stage"
)

// rootBuilder is an image like kaniko's, with a program in kaniko's place that does with the root directory what that does.
const rootBuilder = "skerry.test/rootbuilder:latest"

// kanikoVariable is the path of Kaniko's own executor, linked statically, to test with in the place of ours.
const kanikoVariable = "SKERRY_TEST_KANIKO"

// pageVariable has the text of docs/image-builds.md.
const pageVariable = enginetest.PassPrefix + "IMAGE_BUILDS"

// loadBuilders gives all engines what the tests of image builds need.
func loadBuilders(t *testing.T) {
	t.Helper()
	if enginetest.Again() || len(enginetest.All()) == 0 {
		return
	}
	podmantest.Base(t)
	page, err := os.ReadFile("../../../docs/image-builds.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Setenv(pageVariable, string(page)); err != nil { //nolint:usetesting // a parallel test cannot
		t.Fatal(err)
	}
	program := os.Getenv(kanikoVariable)
	if program == "" {
		program = filepath.Join(t.TempDir(), "executor")
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "gitlab.com/skerry/skerry/internal/executor/container/enginetest/rootbuilder")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	i := enginetest.Image{
		Name: rootBuilder, Bare: true, Volumes: []string{"/busybox"}, Entrypoint: []string{"/kaniko/executor"}, Files: map[string]string{},
		Env:   []string{"PATH=/usr/local/bin:/kaniko:/busybox", "HOME=/root", "USER=root", "DOCKER_CONFIG=/kaniko/.docker/"},
		Links: map[string]string{"/bin/sh": "/busybox/sh"},
	}
	for path, from := range map[string]string{"/kaniko/executor": program, "/busybox/busybox": box} {
		raw, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		i.Files[path] = string(raw)
	}
	for _, applet := range []string{"sh", "mkdir", "cat", "echo"} {
		i.Links["/busybox/"+applet] = "busybox"
	}
	for _, e := range enginetest.All() {
		e.Load(t, i)
	}
}

// dockerfile has a first stage that nothing of is to be left, and in the second one files that change hands, go, and are made by
// another user than root.
const dockerfile = `FROM %[1]s/group/base:1 AS first
RUN echo left > /etc/left-behind
FROM %[1]s/group/base:1
COPY app /srv/app
RUN chown job:33 /srv/app && chmod 755 /srv/app && rm /etc/of-the-base && mkdir -m 750 /srv/data && chown 4711 /srv/data
RUN su job -c 'touch /tmp/of-job' && id -u > /srv/data/by
`

// TestImageBuilds has jobs build and push images with what docs/image-builds.md says, and no more rights than that.
func TestImageBuilds(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	loadBuilders(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		image := e.PodmanImage(t)
		registry := enginetest.NewJobRegistry(t, "gitlab-ci-token", "of the job")
		registry.Push(t, enginetest.Image{Name: "group/base:1", Files: map[string]string{"/etc/of-the-base": ""}})
		for _, builder := range []struct{ name, image string }{{"kaniko", rootBuilder}, {"buildah", image}, {"podman", image}} {
			t.Run(builder.name, func(t *testing.T) {
				j, o := theJob(builder.image), b.o
				j.Image.Entrypoint = []string{""}
				if e.Connect(t).AppArmor { // the only option that the page asks for
					o.Build.SecurityOpt = []string{"apparmor=unconfined"}
				}
				r := b.prepare(t, o, j)
				r.buildImage(builder.name, registry)
				if got := r.script(executor.Build, "echo goes on"); got != "goes on" {
					t.Errorf("after the build: %q", got)
				}
				if e.Name == "docker" && builder.name == "buildah" {
					testBuildsConfined(t, r)
				}
			})
		}
	})
}

// buildImage runs the script of a job of docs/image-builds.md, and looks at what it has pushed.
func (r *run) buildImage(name string, registry *enginetest.Registry) {
	r.t.Helper()
	r.script(executor.Helper, "echo 'echo it runs' > app; printf '%s' '"+strings.ReplaceAll(fmt.Sprintf(dockerfile, registry.Host), "'", `'\''`)+"' > Dockerfile")
	job := pageJob(r.t, name)
	spec := stage.Spec{Dir: "/builds/group/project", Base: "/builds", Mixed: true, Script: &stage.Script{Umask: -1}}
	for key, value := range map[string]string{
		"CI_PROJECT_DIR": "/builds/group/project", "CI_REGISTRY": registry.Host, "CI_REGISTRY_USER": "gitlab-ci-token", "CI_REGISTRY_PASSWORD": "of the job",
		"CI_REGISTRY_IMAGE": registry.Host + "/group/" + name, "CI_COMMIT_REF_SLUG": "main",
	} {
		spec.Env = append(spec.Env, stage.Var{Key: key, Value: value})
	}
	for _, v := range job.Variables {
		spec.Env = append(spec.Env, stage.Var{Key: v.Key, Value: v.Value})
	}
	if name != "kaniko" {
		spec.Script.Lines = []string{fmt.Sprintf(`printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' > /etc/containers/registries.conf.d/insecure.conf`, registry.Host)}
	}
	for _, line := range job.Script {
		spec.Script.Lines = append(spec.Script.Lines, strings.Replace(line, "/kaniko/executor", "/kaniko/executor --insecure --insecure-pull", 1))
	}
	if out, res := r.stage(executor.Build, spec); res.Reason != stage.Success {
		r.t.Fatalf("%+v\n%s", res, out)
	}
	files := registry.Files(r.t, "group/"+name+":main")
	for path, want := range map[string]string{
		"/srv/app": "1000:33 755", "/srv/data": "4711:0 750", "/srv/data/by": "0:0 644", "/tmp/of-job": "1000:1000 644", "/bin/busybox": "0:0 755",
	} {
		h := files[path]
		if h == nil {
			r.t.Errorf("%s is not in the image", path)
			continue
		}
		if got := fmt.Sprintf("%d:%d %o", h.Uid, h.Gid, h.Mode&0o7777); got != want {
			r.t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for path := range files {
		if path == "/etc/left-behind" || path == "/etc/of-the-base" || strings.HasPrefix(path, "/.skerry/") || strings.HasPrefix(path, "/kaniko") || strings.HasPrefix(path, "/builds/group") {
			r.t.Errorf("%s is in the image", path)
		}
	}
}

// pageJob is a job of the page.
func pageJob(t *testing.T, name string) *pipeline.Job {
	t.Helper()
	for _, block := range strings.Split(os.Getenv(pageVariable), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		p, err := pipeline.Parse(pipeline.DefaultFile, []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, j := range p.Jobs {
			if j.Name == name {
				return j
			}
		}
	}
	t.Fatalf("docs/image-builds.md has no job %s", name)
	return nil
}
