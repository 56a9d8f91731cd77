package container_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/image/podmantest"
)

// TestSharedNested has the jobs of an entry share one engine: it outlives jobs and runners as long as a job has it, goes when none has,
// and keeps its images.
func TestSharedNested(t *testing.T) {
	t.Parallel()
	if len(enginetest.All()) > 0 {
		podmantest.Base(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b, image := nestedBench(t, e)
		b.o.Nested.Shared = true
		builds := "skerrytest-" + executor.NewRef("x").ID
		labels := map[string]string{"com.gitlab.skerry.owner": string(b.owner)} // it goes with the bench
		if _, err := e.Client(t).VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: builds, Labels: labels}); err != nil {
			t.Fatal(err)
		}
		b.o.Volumes = []string{builds + ":/builds"}
		first, second := b.prepare(t, b.o, theJob(image)), b.prepare(t, b.o, theJob(image))
		first.script(executor.Helper, projectDir)
		first.script(executor.Build, imported+` && podman --remote run -d --name web -p 8080:80 box busybox httpd -f -p 80 -h /bin >/dev/null`)
		const looks = `podman --remote images -q --filter reference=box | wc -l; echo of the job > in && podman --remote run --rm -v $PWD:/src box busybox cat /src/in; ` +
			`for at in docker nested; do until busybox wget -q -O /dev/null http://$at:8080/busybox; do sleep 0.1; done; echo $at; done`
		if got, want := second.script(executor.Build, looks), "1\nof the job\ndocker\nnested"; got != want {
			t.Errorf("another job finds of images, the project and ports: %q, want %q", got, want)
		}
		reconciled(t, b, first.ref, second.ref)
		first.close()
		again := adopted(t, b, second)
		if got := again.script(executor.Build, `podman --remote exec web busybox test -x /bin/busybox && echo goes on`); got != "goes on" {
			t.Errorf("after the runner was killed: %q", got)
		}
		testStoppedEngine(t, b, again)
		again.close()
		second.close()
		if err := b.host.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := b.left(t); len(left) > 0 {
			t.Errorf("after the runner has ended there are %v", left)
		}
		if !slices.ContainsFunc(b.volumes(t, e.Client(t)), func(name string) bool { return strings.HasSuffix(name, "-store") }) {
			t.Error("its images are not kept")
		}
	})
}

// testStoppedEngine has a job stop the engine's processes, which a nested container with --pid=host can: the next job has an engine with the images
// that were there, and leaves files in it which the runner may not remove by itself.
func testStoppedEngine(t *testing.T, b *bench, had *run) {
	t.Helper()
	engine, err := engineapi.Connect(t.Context(), b.o.Engine, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	name := strings.TrimPrefix(b.left(t)[0], "/")
	const stop = `for p in /proc/[0-9]*; do case $(readlink $p/exe) in */podman) kill -STOP ${p#/proc/} && echo $p ;; esac; done`
	if out, err := engine.Exec(t.Context(), name, "1000", "sh", "-c", stop); err != nil || len(out) == 0 {
		t.Fatalf("%v: stopped are %q", err, out)
	}
	b.host.SharedSilence = time.Second
	next := b.prepare(t, b.o, theJob(had.j.Image.Name))
	const leaves = `podman --remote run --rm -u 7 -v /.skerry/nested:/n box sh -c 'busybox mkdir /n/d && busybox touch /n/d/f && busybox chmod 700 /n/d && echo made'`
	if got := next.script(executor.Build, leaves); got != "made" {
		t.Errorf("after a job has stopped the engine the next one has %q", got)
	}
	var told strings.Builder
	had.env.(executor.Companion).Report(t.Context(), &told)
	if !strings.Contains(told.String(), "was made anew while the job ran") {
		t.Errorf("the job that had it is told %q", told.String())
	}
	next.close()
}

// reconciled has another runner process remove what no job needs but those of keep.
func reconciled(t *testing.T, b *bench, keep ...executor.Ref) {
	t.Helper()
	host := &container.Host{}
	t.Cleanup(func() { _ = host.Close(context.Background()) })
	if err := container.New(b.o, host, quiet(t)).Reconcile(t.Context(), b.owner, keep); err != nil {
		t.Fatal(err)
	}
}

// left are the shared engines of the bench's owner, and their directories.
func (b *bench) left(t *testing.T) (left []string) {
	t.Helper()
	list, err := b.e.Client(t).ContainerList(t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "com.gitlab.skerry.owner="+string(b.owner)).Add("label", "com.gitlab.skerry.part=nested-shared"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Items {
		left = append(left, c.Names...)
	}
	dirs, err := filepath.Glob(filepath.Join(b.o.Dir, ".nested", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if _, err := os.Lstat(d); err == nil {
			left = append(left, d)
		}
	}
	return left
}
