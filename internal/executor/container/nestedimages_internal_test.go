package container

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/generations"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

// TestWhoIsOfferedImages has jobs of open refs in no domain of protected ones, whatever their variables say.
func TestWhoIsOfferedImages(t *testing.T) {
	t.Parallel()
	of := func(trust domain.Trust, project int64, protected bool) string {
		o, j := plainOptions(), testJob()
		o.Nested = &Nested{Image: "podman", Images: trust}
		j.ProjectID, j.Git.Protected = project, protected
		for i := range j.Variables {
			if j.Variables[i].Key == "CI_COMMIT_REF_PROTECTED" {
				j.Variables[i].Value = "true"
			}
		}
		v, err := planned(t, o, j, engineapi.Docker)
		if err != nil {
			t.Fatal(err)
		}
		return v.b.Nested.Domain
	}
	for trust, want := range map[domain.Trust][2]bool{ // the same for open and protected refs, and for two projects
		domain.All: {true, true}, domain.Runner: {true, true}, domain.Protected: {false, true}, domain.Project: {false, false},
	} {
		got := [2]bool{of(trust, 1, true) == of(trust, 1, false), of(trust, 1, true) == of(trust, 2, true)}
		if got != want {
			t.Errorf("%s: the domains are the same: %v, want %v", trust, got, want)
		}
	}
	if got := of("", 1, true); got != "" {
		t.Errorf("without nested_images a job is in the domain %q", got)
	}
	if got := of(domain.Project, 1, true); !strings.HasPrefix(got, imagesName("0123456789abcdef")+"project-closed-") {
		t.Errorf("the domain is called %q", got)
	}
}

// TestGenerations keeps what a job has or is offered, and offers nothing over what others have offered.
func TestGenerations(t *testing.T) {
	t.Parallel()
	o := plainOptions()
	o.Dir = filepath.Join(t.TempDir(), "envs")
	e := New(o, &Host{}, slog.New(slog.DiscardHandler))
	const dom = "skerry-0123456789abcdef-images-project-open-01"
	env := func(id, images string) *environment {
		ref := executor.Ref{Owner: "0123456789abcdef", ID: id}
		v := &environment{e: e, dir: e.dir(ref), b: &blueprint{Ref: ref, Nested: &nestedPart{Domain: dom, Images: images}}}
		if err := v.b.write(v.dir); err != nil {
			t.Fatal(err)
		}
		return v
	}
	may := func(v *environment) bool {
		ok, err := v.mayOffer(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	first, second := env("00000000000000aa", ""), env("00000000000000bb", "")
	if !may(first) {
		t.Error("the first job makes no generation")
	}
	if err := e.generations().Write(dom, generations.Record{Volume: dom + "-00000000000000aa", Made: time.Now().Add(-2 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if may(second) {
		t.Error("a job that began before the last generation makes another one, without its images")
	}
	third := env("00000000000000cc", dom+"-00000000000000aa")
	if !may(third) {
		t.Error("a job with the last generation makes no other one")
	}
	if err := e.generations().Write(dom, generations.Record{Volume: dom + "-00000000000000cc", Made: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if may(env("00000000000000dd", dom+"-00000000000000cc")) {
		t.Error("a generation is made right after another one")
	}
	for volume, want := range map[string][2]bool{
		dom + "-00000000000000aa": {true, false}, dom + "-00000000000000cc": {true, true}, dom + "-00000000000000ee": {false, false},
	} {
		used, current, err := e.generationUsed(volume)
		if got := [2]bool{used, current}; err != nil || got != want {
			t.Errorf("%s is used and offered: %v, want %v (%v)", volume, got, want, err)
		}
	}
	reserve := func() bool {
		_, ok := e.reserve("0123456789abcdef", dom+"-00000000000000cc")
		return ok
	}
	if reserve() {
		t.Error("a generation that a job has is given away")
	}
	for _, id := range []string{"00000000000000cc", "00000000000000dd"} {
		if err := os.RemoveAll(filepath.Join(o.Dir, id)); err != nil {
			t.Fatal(err)
		}
	}
	if !reserve() {
		t.Error("a generation that no job has is not given away")
	}
	if g, err := e.generations().Read(dom); err != nil || g.Volume != "" {
		t.Errorf("a generation that was given away is offered: %q (%v)", g.Volume, err)
	}
}

// TestImagesOfAMachineThatLostPower are offered only if the disk has had the time to keep them.
func TestImagesOfAMachineThatLostPower(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	v := draws(t, e)
	dom := v.b.Nested.Domain
	volume := dom + "-00000000000000aa"
	for name, c := range map[string]struct {
		age  time.Duration
		boot string // when it is picked
		want bool
		left string // of what boot it is then
	}{
		"fresh":                    {time.Second, boottime.ID(), true, boottime.ID()},
		"settled":                  {time.Hour, boottime.ID(), true, ""},
		"long ago":                 {time.Hour, "", true, ""},
		"before the last start":    {time.Hour, "another", false, ""},
		"just before it, by clock": {-time.Hour, "another", false, ""},
	} {
		v.b.Nested.Images = ""
		if err := e.generations().Write(dom, generations.Record{Volume: volume, Made: time.Now().Add(-c.age), Boot: c.boot}); err != nil {
			t.Fatal(err)
		}
		if err := v.pickImages(); err != nil || (v.b.Nested.Images == volume) != c.want {
			t.Errorf("%s: the job has %q (%v)", name, v.b.Nested.Images, err)
		}
		if g, err := e.generations().Read(dom); err != nil || g.Boot != c.left {
			t.Errorf("%s: it is of boot %q (%v)", name, g.Boot, err)
		}
	}
	v.b.Nested.Images = ""
	f.volumes[volume] = map[string]string{labelPart: partImages}
	if err := errors.Join(e.generations().Write(dom, generations.Record{Volume: volume, Boot: "another"}), v.b.write(v.dir), e.reconcileImages(t.Context(), v.engine, v.b.Ref.Owner)); err != nil || len(f.volumes) > 0 {
		t.Errorf("at the next start there are %v (%v)", f.volumes, err)
	}
}

// TestLastOfTwoRemovesImages has two jobs with a generation that is not offered any more end at once: each sees the other one's record until it is gone.
func TestLastOfTwoRemovesImages(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	first, second := draws(t, e), draws(t, e)
	old, next := first.b.Nested.Domain+"-00000000000000aa", first.b.Nested.Domain+"-00000000000000bb"
	for _, v := range []*environment{first, second} {
		v.fresh = true
		if err := v.b.note(v.dir, func() { v.b.Nested.Images = old }); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.generations().Write(first.b.Nested.Domain, generations.Record{Volume: next}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{old, next} {
		f.volumes[name] = map[string]string{labelPart: partImages}
	}
	ended(t, first)
	first.closeImages(t.Context())
	if len(f.volumes) != 2 {
		t.Errorf("images that a job has are removed: there are %v", f.volumes)
	}
	ended(t, second)
	second.closeImages(t.Context())
	if _, there := f.volumes[next]; !there || len(f.volumes) != 1 {
		t.Errorf("when nobody has it any more there are %v", f.volumes)
	}
}

// TestImagesLeftBehindAreRemoved with the next generation: what a container still had, and what a killed runner has half made.
func TestImagesLeftBehindAreRemoved(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	v, killed := draws(t, e), draws(t, e)
	dom := v.b.Nested.Domain
	old, half := dom+"-00000000000000aa", dom+"-"+killed.b.Ref.ID
	for _, name := range []string{old, half, dom + "-" + v.b.Ref.ID} {
		f.volumes[name] = map[string]string{labelPart: partImages}
	}
	f.volumes["other"] = nil
	f.inUse = old
	if err := v.commit(t.Context(), dom+"-"+v.b.Ref.ID); err != nil {
		t.Fatal(err)
	}
	if len(f.volumes) != 4 {
		t.Errorf("while they are used, or made, there are %v", f.volumes)
	}
	f.inUse = ""
	ended(t, killed)
	killed.closeImages(t.Context())
	if _, there := f.volumes[dom+"-"+v.b.Ref.ID]; !there || len(f.volumes) != 2 {
		t.Errorf("when nobody has them any more there are %v", f.volumes)
	}
}

// TestEngineAddressedInTwoWays has one record of a domain, and keeps what an older one with another name says.
func TestEngineAddressedInTwoWays(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	v := draws(t, e)
	dom, address := v.b.Nested.Domain, e.o.Engine.Host
	path := strings.TrimPrefix(address, "unix://")
	link := filepath.Join(t.TempDir(), "run")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		t.Fatal(err)
	}
	other := New(e.o, e.host, e.log)
	other.o.Engine.Host = "unix://" + filepath.Join(link, filepath.Base(path))
	if e.generations() != other.generations() || e.sharedDir("x") != other.sharedDir("x") {
		t.Error("one engine has two records")
	}
	elsewhere := New(e.o, e.host, e.log)
	elsewhere.o.Engine.Host = "tcp://127.0.0.1:2375"
	if err := elsewhere.generations().Write(dom, generations.Record{Volume: dom + "-00000000000000aa"}); err != nil {
		t.Fatal(err)
	}
	f.volumes[dom+"-00000000000000aa"] = map[string]string{labelPart: partImages}
	if err := e.reconcileImages(t.Context(), v.engine, v.b.Ref.Owner); err != nil || len(f.volumes) != 1 {
		t.Errorf("what is offered by another address is removed: %v", err)
	}
}

func offering(t *testing.T) (*fakeEngine, *Executor) {
	t.Helper()
	o := plainOptions()
	o.Nested = &Nested{Image: "podman", Images: domain.Project}
	return newFakeEngine(t, o)
}
