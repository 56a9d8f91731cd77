package disk

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

func at(hours int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(hours) * time.Hour)
}

func names(items []Item) (out []string) {
	for _, i := range items {
		out = append(out, string(i.Kind)+" "+i.String())
	}
	return out
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		items []Item
		want  []string
	}{
		"nothing": {},
		"the longest unused first, of any kind": {
			items: []Item{
				{Kind: Image, Name: "c", Used: at(3)}, {Kind: Volume, Name: "a", Used: at(1)},
				{Kind: Archive, Name: "k/cache.zip", In: "v", Used: at(2)}, {Kind: Image, Name: "d", Used: at(4)},
			},
			want: []string{"volume a", "cache v:k/cache.zip", "image c", "image d"},
		},
		"of those that are as old the largest, then by name": {
			items: []Item{
				{Kind: Volume, Name: "b", Size: 5, Used: at(1)}, {Kind: Volume, Name: "a", Size: 5, Used: at(1)}, {Kind: Image, Name: "z", Size: 9, Used: at(1)},
			},
			want: []string{"image z", "volume a", "volume b"},
		},
		"never what is pinned": {
			items: []Item{{Kind: Image, Name: "used", Used: at(0), pinned: true}, {Kind: Image, Name: "free", Used: at(5)}},
			want:  []string{"image free"},
		},
		"what was never used goes first": {
			items: []Item{{Kind: Image, Name: "used", Used: at(0)}, {Kind: Image, Name: "never"}},
			want:  []string{"image never", "image used"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := slices.Clone(c.items)
			if diff := cmp.Diff(c.want, names(order(c.items))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(before, c.items, cmp.AllowUnexported(Item{})); diff != "" {
				t.Errorf("order changed its argument:\n%s", diff)
			}
		})
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	items := []Item{
		{Kind: Image, Name: "image", Used: at(0)}, {Kind: Archive, Name: "archive", In: "v", Used: at(0)},
		{Kind: Volume, Name: "old", Used: at(2)}, {Kind: Volume, Name: "older", Used: at(1)},
		{Kind: Volume, Name: "kept", Used: at(0), pinned: true}, {Kind: Volume, Name: "fresh", Used: at(9)},
	}
	for ttl, want := range map[time.Duration][]string{
		0:              nil,
		8 * time.Hour:  {"volume older", "volume old"},
		9 * time.Hour:  {"volume older"},
		99 * time.Hour: nil,
	} {
		if diff := cmp.Diff(want, names(expired(items, ttl, at(10)))); diff != "" {
			t.Errorf("after %s: -want +got:\n%s", ttl, diff)
		}
	}
}

func TestOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy Policy
		own    int64
		space  space
		margin float64
		want   int64
	}{
		"no budget":                   {own: 1 << 40, space: space{size: 10, used: 10}},
		"within the size":             {policy: Policy{Bytes: 100}, own: 100},
		"over the size":               {policy: Policy{Bytes: 100}, own: 130, want: 30},
		"with a margin":               {policy: Policy{Bytes: 100}, own: 100, margin: 0.05, want: 5},
		"the file system is fuller":   {policy: Policy{Percent: 80}, own: 1, space: space{size: 1000, used: 950}, want: 150},
		"it is not":                   {policy: Policy{Percent: 80}, own: 1 << 40, space: space{size: 1000, used: 800}},
		"nor with the margin":         {policy: Policy{Percent: 80}, space: space{size: 1000, used: 740}, margin: 0.05},
		"unknown file system":         {policy: Policy{Percent: 80}, own: 1},
		"the worse of two counts":     {policy: Policy{Bytes: 100, Percent: 80}, own: 110, space: space{size: 1000, used: 850}, want: 50},
		"the worse of two is the own": {policy: Policy{Bytes: 100, Percent: 80}, own: 300, space: space{size: 1000, used: 850}, want: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.policy.over(c.own, c.space, c.margin); got != c.want {
				t.Errorf("over by %d, want %d", got, c.want)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ a, b, want Policy }{
		"the smaller budget, the longer time": {Policy{Bytes: 5, VolumeTTL: 1}, Policy{Bytes: 3, Percent: 80, VolumeTTL: 2}, Policy{Bytes: 3, Percent: 80, VolumeTTL: 2}},
		"never is the longest":                {Policy{VolumeTTL: 1}, Policy{}, Policy{}},
	} {
		for _, got := range []Policy{c.a.join(c.b), c.b.join(c.a)} {
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", name, diff)
			}
		}
	}
}

func TestKeeps(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]bool{
		"no-prune": true, "no-prune=true": true, "no-prune=1": true, "com.gitlab.skerry.no-prune=true": true,
		"no-prune=false": false, "no-prune=No": false, "other=true": false, "com.gitlab.skerry.no-prune=0": false,
	} {
		k, v, _ := strings.Cut(label, "=")
		if got := keeps(map[string]string{k: v}); got != want {
			t.Errorf("%s keeps: %v, want %v", label, got, want)
		}
	}
}

// The volumes of Nix stores count, as large as their keeper says, and nothing of them is evicted.
func TestNixStoresCountAndStay(t *testing.T) {
	t.Parallel()
	k := New(Options{Path: filepath.Join(t.TempDir(), "l.json"), Sizes: func() map[string]int64 { return map[string]int64{"d-store": 70} }})
	defer k.Close()
	nix := map[string]string{labelNix: "d"}
	items := k.volumes([]engineapi.StoredVolume{
		{Name: "d-store", Labels: nix, Created: at(0)}, {Name: "d-var", Labels: nix, Created: at(0)}, {Name: "d-gate", Labels: nix, Created: at(0)},
		{Name: "other", Created: at(5)},
	})
	if got := total(items); got != 70 {
		t.Errorf("they occupy %d", got)
	}
	if diff := cmp.Diff([]string{"volume other"}, names(order(items))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"volume other"}, names(expired(items, time.Hour, at(100)))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRefs(t *testing.T) {
	t.Parallel()
	image := engineapi.StoredImage{ID: "sha256:0123456789abcdef", Tags: []string{"docker.io/library/debian:trixie"}}
	for ref, want := range map[string]bool{
		"debian:trixie": true, "docker.io/debian:trixie": true, "index.docker.io/library/debian:trixie": true,
		"debian": false, "debian:bookworm": false, "0123456789ab": true, "sha256:0123456789abcdef": true, "0123": false, "": false,
		"localhost/debian:trixie": false, "Not A Name": false,
	} {
		if got := newRefs(ref).holds(image, nil); got != want {
			t.Errorf("%q stands for the image: %v, want %v", ref, got, want)
		}
	}
	if !newRefs("a.example/b@sha256:"+strings.Repeat("0", 64)).holds(image, []string{"a.example/b@sha256:" + strings.Repeat("0", 64)}) {
		t.Error("a digest that the ledger knows does not stand for its image")
	}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "below", "ledger.json")
	l, err := openLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	l.pulled("debian:trixie", "", "id1", at(1))
	l.pulled("debian:trixie", "id1", "id1", at(2)) // it was the newest
	l.pulled("local:mine", "id2", "id2", at(1))    // it was there before
	l.pulled("debian:trixie", "id1", "id3", at(3)) // another one
	l.pulled("debian:13", "", "id3", at(4))        // the same
	l.data.Pulling["gone:1"], l.data.Pulling["x:1"] = "", "id1"
	l.pulled("gone:1", "", "", at(5)) // failed
	l.data.Volumes["v"] = at(6)
	if err := l.write(); err != nil {
		t.Fatal(err)
	}
	again, err := openLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	want := ledgerData{
		Images: map[string]*imageEntry{
			"id1": {Used: at(2), Refs: []string{"debian:trixie"}}, "id2": {Used: at(1)}, "id3": {Used: at(4), Refs: []string{"debian:trixie", "debian:13"}},
		},
		Pulling: map[string]string{"x:1": "id1"}, Volumes: map[string]time.Time{"v": at(6)},
	}
	if diff := cmp.Diff(want, again.data); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again.pulled("new:1", "", "id4", at(8)) // after the look at what is there
	again.keep(map[string]bool{"id3": true}, nil, at(7))
	if got := slices.Sorted(maps.Keys(again.data.Images)); !slices.Equal(got, []string{"id3", "id4"}) || len(again.data.Volumes) != 0 {
		t.Errorf("remembered %v and %v of what is gone", got, again.data.Volumes)
	}
}

func TestLedgerIsBounded(t *testing.T) {
	t.Parallel()
	l, err := openLedger(filepath.Join(t.TempDir(), "ledger.json"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range maxEntries + 100 {
		l.data.Volumes["v"+time.Duration(n).String()] = at(n)
	}
	if err := l.write(); err != nil {
		t.Fatal(err)
	}
	if n := len(l.data.Volumes); n != maxEntries || l.data.Volumes["v0s"] != (time.Time{}) {
		t.Errorf("%d volumes are remembered, the oldest: %v", n, l.data.Volumes["v0s"])
	}
}

func TestBrokenLedgerIsBegunAnew(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", `{"images":{"id":null},"volumes":null}`, "[]"} {
		path := filepath.Join(t.TempDir(), "ledger.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := openLedger(path)
		if (err == nil) != strings.HasPrefix(text, `{"`) {
			t.Errorf("%q: %v", text, err)
		}
		l.used("id", at(1))
		l.data.Volumes["v"] = at(1)
		if err := l.write(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestArchivesIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := t.TempDir()
	for _, p := range []string{"g/p/key/cache.zip", "g/p/other/cache.tar.zst", "g/p/other/notes.txt", "../" + filepath.Base(outside) + "/cache.zip"} {
		path := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 10_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"g/out": outside, "g/cache.zip": filepath.Join(outside, "cache.zip")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	got := names(archivesIn(dir, "v"))
	slices.Sort(got)
	if diff := cmp.Diff([]string{"cache v:g/p/key/cache.zip", "cache v:g/p/other/cache.tar.zst"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := archivesIn(filepath.Join(dir, "none"), "v"); got != nil {
		t.Errorf("found %v where nothing is", names(got))
	}
}
