package disk_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

const labelOwner = "com.gitlab.skerry.owner"

// bench is an engine with things on its disk that belong to an owner of the test.
type bench struct {
	t      *testing.T
	e      enginetest.Engine
	engine *engineapi.Engine
	api    *client.Client
	owner  string

	mu     sync.Mutex
	now    time.Time
	inUse  []string
	leased map[string]bool
	used   int64
	gone   []disk.Eviction
}

func newBench(t *testing.T, e enginetest.Engine) *bench {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return &bench{
		t: t, e: e, engine: e.Connect(t), api: e.Client(t), owner: hex.EncodeToString(b),
		now: time.Now().Truncate(time.Second), leased: map[string]bool{},
	}
}

func (b *bench) keeper(path string) *disk.Keeper {
	k := disk.New(disk.Options{
		Owner: b.owner, LabelOwner: labelOwner, Path: path, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil)),
		Engine: func(context.Context) (*engineapi.Engine, error) { return b.engine, nil },
		InUse:  func() ([]string, error) { return b.inUse, nil },
		Lease:  func(v string) (func(), bool) { return func() {}, !b.leased[v] },
		Caches: func(v string) bool { return strings.HasSuffix(v, "-cache") },
		Used:   func(n int64) { b.used = n },
		Now: func() time.Time {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.now
		},
		Evicted: func(e disk.Eviction) { b.gone = append(b.gone, e) },
		Every:   time.Hour,
	})
	b.t.Cleanup(k.Close)
	return k
}

// later lets time pass.
func (b *bench) later(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// image gives the engine an image of its own content, and returns its name and ID.
func (b *bench) image(name string, labels map[string]string) (ref, id string) {
	b.t.Helper()
	ref = "skerry.test/" + b.owner + "-" + name + ":1"
	b.e.Load(b.t, enginetest.Image{Name: ref, Labels: labels, Files: map[string]string{"content": b.owner + name}})
	b.t.Cleanup(func() { _, _ = b.api.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{}) })
	i, err := b.engine.Image(b.t.Context(), ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return ref, i.ID
}

// pulled is image, for one that a job of the runner has pulled.
func (b *bench) pulled(k *disk.Keeper, name string, labels map[string]string) string {
	b.t.Helper()
	done := k.Pull("skerry.test/"+b.owner+"-"+name+":1", "")
	ref, id := b.image(name, labels)
	done(id)
	b.later(time.Minute)
	return ref
}

// volume makes a volume of the owner with some bytes in it, and paths of caches.
func (b *bench) volume(name string, labels map[string]string, archives ...string) string {
	b.t.Helper()
	name = b.owner + "-" + name
	all := map[string]string{labelOwner: b.owner}
	for k, v := range labels {
		all[k] = v
	}
	if err := b.engine.Volume(b.t.Context(), name, all); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = b.engine.RemoveVolume(context.Background(), name) })
	script := "dd if=/dev/zero of=/v/x bs=1k count=100 2>/dev/null"
	for _, a := range archives {
		script += "; mkdir -p /v/" + filepath.Dir(a) + "; dd if=/dev/zero of=/v/" + a + " bs=1k count=50 2>/dev/null"
	}
	b.run(name, script+"; sync")
	return name
}

// run runs a script with a volume at /v, in a container that is removed.
func (b *bench) run(volume, script string) {
	b.t.Helper()
	name := b.container(volume, "skerry.test/busybox:latest", script)
	defer func() { _ = b.engine.Remove(context.Background(), name) }()
	if end, err := b.engine.Finish(b.t.Context(), name, 1<<20); err != nil || end.ExitCode != 0 {
		b.t.Fatalf("%s: exit code %d: %s, %v", script, end.ExitCode, end.Err, err)
	}
}

func (b *bench) container(volume, image, script string) string {
	b.t.Helper()
	raw := make([]byte, 4)
	_, _ = rand.Read(raw)
	name := "skerry-test-" + b.owner + "-" + hex.EncodeToString(raw)
	o := client.ContainerCreateOptions{
		Name:       name,
		Config:     &container.Config{Image: image, Entrypoint: []string{"/bin/sh", "-c", script}, Labels: map[string]string{labelOwner: b.owner}},
		HostConfig: &container.HostConfig{NetworkMode: "none"},
	}
	if volume != "" {
		o.HostConfig.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: volume, Target: "/v"}}
	}
	if _, err := b.engine.Create(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = b.engine.Remove(context.Background(), name) })
	if err := b.engine.Start(b.t.Context(), name); err != nil {
		b.t.Fatal(err)
	}
	return name
}

// left are those of the images and volumes that are still there.
func (b *bench) left(names ...string) (left []string) {
	b.t.Helper()
	volumes, err := b.engine.StoredVolumes(b.t.Context(), labelOwner, b.owner)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, n := range names {
		_, err := b.engine.Image(b.t.Context(), n)
		if err == nil || slices.ContainsFunc(volumes, func(v engineapi.StoredVolume) bool { return v.Name == n }) {
			left = append(left, strings.TrimSuffix(strings.TrimPrefix(n[strings.Index(n, b.owner):], b.owner+"-"), ":1"))
		}
	}
	return left
}

func TestBudget(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: "skerry.test/busybox:latest"})
		b := newBench(t, e)
		k := b.keeper(filepath.Join(t.TempDir(), "ledger.json"))
		all := []string{b.pulled(k, "first", nil)}
		all = append(all, b.volume("second", nil))
		k.Volumes(all[1])
		b.later(time.Minute)
		all = append(all, b.pulled(k, "third", nil), b.pulled(k, "needed", nil), b.pulled(k, "labelled", map[string]string{"no-prune": "true"}))
		all = append(all, b.pulled(k, "running", nil), b.pulled(k, "tagged", nil))
		foreign, id := b.image("foreign", nil)
		k.Need(id)
		all = append(all, foreign, b.volume("leased", nil), b.volume("kept", map[string]string{"com.gitlab.skerry.no-prune": "true"}), b.volume("mounted", nil))
		b.inUse = []string{all[3]}
		b.leased[all[8]] = true
		b.container("", all[5], "sleep 600")
		b.container(all[10], "skerry.test/busybox:latest", "sleep 600")
		other := "skerry.test/" + b.owner + "-operators:own"
		if _, err := b.api.ImageTag(t.Context(), client.ImageTagOptions{Source: all[6], Target: other}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = b.api.ImageRemove(context.Background(), other, client.ImageRemoveOptions{}) })

		expect := func(what string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, b.left(all...)); diff != "" {
				t.Errorf("%s: -want +left:\n%s", what, diff)
			}
		}
		everything := []string{"first", "second", "third", "needed", "labelled", "running", "tagged", "foreign", "leased", "kept", "mounted"}
		k.Set("entry", disk.Policy{Bytes: 1 << 50})
		k.Now(t.Context())
		expect("within the budget", everything...)
		if b.used < 5<<20 {
			t.Errorf("the runner's things occupy %d bytes: less than their images", b.used)
		}
		k.Set("entry", disk.Policy{Bytes: b.used - 1})
		k.Now(t.Context())
		expect("a byte too much", everything[1:]...)
		k.Set("entry", disk.Policy{Bytes: b.used - 1})
		k.Now(t.Context())
		expect("another byte", everything[2:]...)
		k.Set("entry", disk.Policy{Bytes: 1})
		k.Now(t.Context())
		expect("everything too much", "needed", "labelled", "running", "foreign", "leased", "kept", "mounted")
		if _, err := b.engine.Image(t.Context(), other); err != nil {
			t.Errorf("what somebody else has tagged: %v", err)
		}
		if len(b.gone) != 4 {
			t.Errorf("told of %v", b.gone)
		}
	})
}

// A share of the file system is what whoever occupies it leaves, and the lowest share is never reached.
func TestShare(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		k := b.keeper(filepath.Join(t.TempDir(), "ledger.json"))
		ref := b.pulled(k, "image", nil)
		k.Set("entry", disk.Policy{Percent: 99.999})
		k.Now(t.Context())
		if len(b.left(ref)) != 1 {
			t.Error("an image was evicted from a file system that is not full")
		}
		k.Set("entry", disk.Policy{Percent: 0.0001})
		k.Now(t.Context())
		if len(b.left(ref)) != 0 {
			t.Error("an image was kept on a file system that is too full")
		}
	})
}

func TestVolumesThatNobodyUses(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: "skerry.test/busybox:latest"})
		b := newBench(t, e)
		path := filepath.Join(t.TempDir(), "ledger.json")
		k := b.keeper(path)
		image := b.pulled(k, "image", nil)
		old, leased, fresh := b.volume("old", nil), b.volume("leased", nil), b.volume("fresh", nil)
		b.leased[leased] = true
		k.Volumes(old, leased, fresh)
		k.Set("entry", disk.Policy{VolumeTTL: time.Hour})
		b.later(50 * time.Minute)
		k.Volumes(fresh)
		k.Close() // the next process remembers
		k = b.keeper(path)
		k.Set("entry", disk.Policy{VolumeTTL: time.Hour})
		b.later(20 * time.Minute)
		k.Now(t.Context())
		if diff := cmp.Diff([]string{"image", "leased", "fresh"}, b.left(image, old, leased, fresh)); diff != "" {
			t.Errorf("-want +left:\n%s", diff)
		}
		k.Set("entry", disk.Policy{})
		b.later(time.Hour * 24 * 3650)
		k.Now(t.Context())
		if diff := cmp.Diff([]string{"leased", "fresh"}, b.left(leased, fresh)); diff != "" {
			t.Errorf("without a policy: -want +left:\n%s", diff)
		}
	})
}

func TestArchivesGoBeforeTheVolume(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: "skerry.test/busybox:latest"})
		b := newBench(t, e)
		k := b.keeper(filepath.Join(t.TempDir(), "ledger.json"))
		v := b.volume("cache", nil, "g/old/cache.zip", "g/new/cache.tar.zst")
		b.run(v, "touch -d '2001-01-01 00:00' /v/g/old/cache.zip")
		b.later(time.Hour)
		k.Volumes(v)
		k.Set("entry", disk.Policy{Bytes: 1 << 50})
		k.Now(t.Context())
		k.Set("entry", disk.Policy{Bytes: b.used - 1})
		k.Now(t.Context())
		b.run(v, "test ! -e /v/g/old && test -s /v/g/new/cache.tar.zst && test -s /v/x")
		if len(b.gone) != 1 || b.gone[0].Kind != disk.Archive || b.gone[0].Size < 50<<10 {
			t.Errorf("told of %v", b.gone)
		}
	})
}

// A runner that was killed while it pulled knows at its next start that the image is its own.
func TestPullThatNobodySawTheEndOf(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		b := newBench(t, e)
		path := filepath.Join(t.TempDir(), "ledger.json")
		mine, theirs := "skerry.test/"+b.owner+"-mine:1", "skerry.test/"+b.owner+"-theirs:1"
		_, before := b.image("theirs", nil)
		k := b.keeper(path)
		k.Pull(mine, "")
		k.Pull(theirs, before)
		b.image("mine", nil)
		again := b.keeper(path) // the first is never closed as far as the file is concerned
		again.Set("entry", disk.Policy{Bytes: 1})
		again.Now(t.Context())
		if diff := cmp.Diff([]string{"theirs"}, b.left(mine, theirs)); diff != "" {
			t.Errorf("-want +left:\n%s", diff)
		}
	})
}
