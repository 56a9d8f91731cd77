package container_test

import (
	"context"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/image/podmantest"
)

// nestedBench is a bench whose jobs have engines of their own, and the image of jobs that have Podman's client.
func nestedBench(t *testing.T, e enginetest.Engine) (*bench, string) {
	t.Helper()
	b := newBench(t, e)
	image := e.PodmanImage(t)
	b.o.Nested = &container.Nested{Image: image}
	return b, image
}

// fromBusybox makes an image, localhost/box, of the job's static busybox.
const fromBusybox = `mkdir -p /tmp/box/bin && cp /bin/busybox /tmp/box/bin && ln -sf busybox /tmp/box/bin/sh && printf 'FROM scratch\nCOPY bin /bin\nRUN ["/bin/busybox","touch","/built"]\n' > /tmp/box/Containerfile && ` +
	`podman --remote build -q -t box /tmp/box >/dev/null`

// imported is what fromBusybox makes, without the time that a build takes.
const imported = `mkdir -p /tmp/box/bin && cp /bin/busybox /tmp/box/bin && ln -sf busybox /tmp/box/bin/sh && touch /tmp/box/built && busybox tar -c -C /tmp/box . | podman --remote import -q - box >/dev/null`

// projectDir makes the directory of theJob's project, which every user may write to.
const projectDir = `mkdir -p /builds/group/project && chmod 777 /builds /builds/group/project`

// TestNested has jobs build and run containers by engines of their own, which see nothing of each other and go with their jobs.
func TestNested(t *testing.T) {
	t.Parallel()
	if len(enginetest.All()) > 0 { // else nobody needs it, who may not be able to make it
		podmantest.Base(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b, image := nestedBench(t, e)
		b.o.Build.Pids = 800
		r, other := b.prepare(t, b.o, theJob(image)), b.prepare(t, b.o, theJob(image))
		r.script(executor.Helper, "mkdir -p /builds/group/project && chmod 777 /builds/group/project")
		r.script(executor.Build, fromBusybox)
		testNestedRuns(t, r)
		testNestedAPI(t, b, r)
		testNestedConfined(t, r, other)
		testNestedBounded(t, other, e.Name != "rootless") // which enforces no limits with version 1 of control groups
		testNestedDisk(t, b, image)
		testNestedFrom(t, b, image)
		again := adopted(t, b, r)
		if got := again.script(executor.Build, `podman --remote exec web busybox test -x /bin/busybox && echo goes on`); got != "goes on" {
			t.Errorf("after the runner was killed: %q", got)
		}
		again.script(executor.Build, `podman --remote run --rm -u 7 -v /.skerry/nested:/n box sh -c 'busybox mkdir /n/d && busybox touch /n/d/f && busybox chmod 700 /n/d'`) // which the runner may not remove by itself
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := again.env.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if left := leftOf(t, e, r.ref); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		testNestedElsewhere(t, b, image)
	})
}

// testNestedElsewhere takes the engine for one that shares no directories with the runner.
func testNestedElsewhere(t *testing.T, b *bench, image string) {
	t.Helper()
	far := *b
	far.host = &container.Host{Remote: true}
	t.Cleanup(func() { _ = far.host.Close(context.Background()) })
	o, n := b.o, *b.o.Nested
	n.Disk.Bytes = 64 << 20
	o.Nested = &n
	r := far.prepare(t, o, theJob(image))
	got := r.script(executor.Build, fromTar+` && podman --remote run --rm -v /.skerry/nested:/n -v /etc:/e box /bin/busybox sh -c `+
		`'/bin/busybox test -S /n/podman.sock && echo there; for f in /e/subuid /e/subgid; do { echo >> $f; } 2>/dev/null && echo $f; done; true'; `+
		`! touch /.skerry/nested/mine 2>/dev/null || echo writes; podman --remote info --format '{{.Host.IDMappings.UIDMap}}'`)
	if want := "there\n[{0 1000 1} {1 1 999} {1000 1001 64535}]"; got != want {
		t.Errorf("in a job of an engine elsewhere: %q, want %q", got, want)
	}
	r.script(executor.Build, `podman --remote run --rm box /bin/busybox sh -c '/bin/busybox dd if=/dev/zero of=/f bs=1M count=200 && /bin/busybox sleep 100' >/dev/null 2>&1 || true`)
	testReport(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.env.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if left := leftOf(t, b.e, r.ref); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func testNestedRuns(t *testing.T, r *run) {
	t.Helper()
	for what, c := range map[string]struct{ line, want string }{
		"variables": {`echo $CONTAINER_HOST $DOCKER_HOST $DOCKER_BUILDKIT`, "unix:///.skerry/nested/podman.sock unix:///.skerry/nested/podman.sock 0"},
		"image":     {`podman --remote run --rm box busybox ls /built`, "/built"},
		"project": {
			`mkdir out && echo of the job > out/in && podman --remote run --rm -v $PWD/out:/out box sh -c 'busybox cat /out/in; echo of the container > /out/made; busybox mkdir -p /out/dir/below' && cat out/made && rm -r out`,
			"of the job\nof the container",
		},
		"two on a network": {
			`podman --remote network create pair >/dev/null && podman --remote run -d --name web --network pair -p 8080:80 box busybox httpd -f -p 80 -h /bin >/dev/null && ` +
				`podman --remote run --rm --network pair box sh -c 'until busybox wget -q -O /dev/null http://web/busybox 2>/dev/null; do busybox sleep 0.1; done' && ` +
				`for at in docker nested localhost; do busybox wget -q -O /dev/null http://$at:8080/busybox && echo $at; done`,
			"docker\nnested\nlocalhost",
		},
		"socket in a container": {
			`podman --remote run --rm -v /var/run/docker.sock:/s box busybox test -S /s && echo there`, "there",
		},
	} {
		if got := r.script(executor.Build, c.line); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

// adopted is the run as another runner process has it.
func adopted(t *testing.T, b *bench, r *run) *run {
	t.Helper()
	host := &container.Host{}
	t.Cleanup(func() { _ = host.Close(context.Background()) })
	env, err := container.New(r.o, host, quiet(t)).Adopt(t.Context(), r.ref)
	if err != nil {
		t.Fatal(err)
	}
	return &run{t: t, o: r.o, j: r.j, ref: r.ref, env: env}
}

// leftOf is what the engine has of an environment.
func leftOf(t *testing.T, e enginetest.Engine, ref executor.Ref) (left []string) {
	t.Helper()
	api := e.Client(t)
	filter := make(client.Filters).Add("label", "com.gitlab.skerry.ref="+ref.String())
	for _, c := range listed(t, func() (client.ContainerListResult, error) {
		return api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: filter})
	}).Items {
		left = append(left, c.Names...)
	}
	for _, v := range listed(t, func() (client.VolumeListResult, error) {
		return api.VolumeList(t.Context(), client.VolumeListOptions{Filters: filter})
	}).Items {
		left = append(left, v.Name)
	}
	return left
}
