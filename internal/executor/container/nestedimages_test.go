package container_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/image/podmantest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

// TestNestedImages offers the images of a job that has succeeded to later ones of its trust domain, read-only, and nothing of another
// domain's: an open ref's image must not come into a protected one's builds. That each domain has its own images in any case,
// TestWhoIsOfferedImages shows.
func TestNestedImages(t *testing.T) {
	t.Parallel()
	if len(enginetest.All()) > 0 {
		podmantest.Base(t)
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b, image := nestedBench(t, e)
		b.o.Nested.Images, b.host.OfferEvery, b.host.OfferReserve = domain.Project, 1, 8<<20
		begin := func(protected bool) *run {
			j := theJob(image)
			j.Git = job.Git{Protected: protected}
			return b.prepare(t, b.o, j)
		}
		succeed := func(r *run) {
			r.env.(executor.Bequeather).Bequeath(func() {})
			r.close()
		}
		first := begin(true)
		first.script(executor.Helper, projectDir)
		first.script(executor.Build, imported+` && podman --remote create -q --name left -v kept:/kept box busybox true >/dev/null`)
		succeed(first)
		if made := generationsOf(t, b); len(made) != 1 {
			t.Fatalf("a job that has succeeded has left the generations %v: the log above says why, as without room on the disk", made)
		}

		open, second := begin(false), begin(true)
		for _, r := range []*run{open, second} {
			r.script(executor.Helper, projectDir)
		}
		if got := open.script(executor.Build, listsAll); got != "" {
			t.Errorf("a job of an open ref finds %q", got)
		}
		testOfferedImages(t, second)
		second.script(executor.Build, `printf 'FROM localhost/box\nRUN ["/bin/busybox","touch","/more"]\n' | podman --remote build -q -t more - >/dev/null`)
		succeed(second)

		third := begin(true)
		third.script(executor.Helper, projectDir)
		if got, want := third.script(executor.Build, listsAll+` && podman --remote run --rm more busybox ls -d /built /more`), "localhost/box\nlocalhost/more\n/built\n/more"; got != want {
			t.Errorf("the next job finds %q, want %q", got, want)
		}
		before := generationsOf(t, b)
		third.script(executor.Build, `mkdir /tmp/bad && touch /tmp/bad/x && busybox tar -c -C /tmp/bad . | podman --remote import -q - bad >/dev/null`)
		third.close() // it has failed
		if after := generationsOf(t, b); !slices.Equal(after, before) {
			t.Errorf("after a job that has failed the generations are %v, and were %v", after, before)
		}
		testGenerations(t, b)
	})
}

// listsAll prints the repositories of the images that a job's engine has, and what else it has.
const listsAll = `podman --remote images --format '{{.Repository}}' | sort && podman --remote ps -aq && podman --remote volume ls -q`

// testOfferedImages has a job use what it was offered, find nothing else of the job before, and write to nothing of it, whatever rights its container has.
func testOfferedImages(t *testing.T, r *run) {
	t.Helper()
	const inside = `busybox ls /built; busybox find /i -maxdepth 1 -type f; busybox mount -o remount,rw,bind /i 2>/dev/null; busybox touch /i/x 2>/dev/null || echo refused; ` +
		`busybox rm -rf /i/storage 2>/dev/null; busybox ls -d /i/storage`
	got := r.script(executor.Build, listsAll+` && podman --remote run --rm --privileged --network host -v /.skerry/images:/i box sh -c '`+inside+`'`)
	if want := "localhost/box\n/built\nrefused\n/i/storage"; got != want {
		t.Errorf("the next job finds %q, want %q", got, want)
	}
}

// testGenerations has one generation of a domain, and nothing that a runner which was killed has left of another.
func testGenerations(t *testing.T, b *bench) {
	t.Helper()
	api, list := b.e.Client(t), func() []string { return generationsOf(t, b) }
	whole := list()
	if len(whole) != 1 {
		t.Fatalf("the generations of a domain are %v", whole)
	}
	half := whole[0][:strings.LastIndexByte(whole[0], '-')] + "-" + executor.NewRef("x").ID
	labels := map[string]string{"com.gitlab.skerry.owner": string(b.owner), "com.gitlab.skerry.part": "nested-images"}
	if _, err := api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: half, Labels: labels}); err != nil {
		t.Fatal(err)
	}
	if err := container.New(b.o, b.host, quiet(t)).Reconcile(t.Context(), b.owner, nil); err != nil {
		t.Fatal(err)
	}
	if got := list(); !slices.Equal(got, whole) {
		t.Errorf("after a start there are %v, want %v", got, whole)
	}
}

// generationsOf are all that there are.
func generationsOf(t *testing.T, b *bench) (names []string) {
	t.Helper()
	for _, name := range b.volumes(t, b.e.Client(t)) {
		if strings.Contains(name, "-images-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
