package collect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// name makes a store path's name of a letter.
func name(c string) string { return strings.Repeat(c, 32) + "-" + c }

func names(letters string) []string {
	var all []string
	for _, c := range letters {
		all = append(all, name(string(c)))
	}
	return all
}

// store makes a graph of lines "a: b c".
func store(lines ...string) volumes.Graph {
	g := volumes.Graph{}
	for _, line := range lines {
		base, refs, _ := strings.Cut(line, ":")
		n := volumes.Node{Size: 10}
		for r := range strings.FieldsSeq(refs) {
			n.Refs = append(n.Refs, name(r))
		}
		g[name(base)] = n
	}
	return g
}

func letters(order []doomed) string {
	var b strings.Builder
	for _, d := range order {
		b.WriteString(d.base[:1])
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 30, 0, 0, time.UTC)
	recent := func(hoursAgo int) string {
		return "recent:" + now.Add(-time.Duration(hoursAgo)*time.Hour).Format(volumes.HourFormat)
	}
	for title, test := range map[string]struct {
		g           volumes.Graph
		h           holders
		old         string // came long ago; others have just come
		keep        time.Duration
		want        string // in this order; upper limit of those that have expired follows a bar
		onlyExpired string
	}{
		"nothing is held": {g: store("a: b", "b: b c", "c:", "d:"), want: "adbc", onlyExpired: "adbc"},
		"jobs, pins and connections hold": {
			g: store("a: b", "b:", "c: b", "d:", "f:"),
			h: holders{name("a"): {"job:1"}, name("d"): {"pin:x"}, name("f"): {"temporary:7"}}, want: "c", onlyExpired: "c",
		},
		"what has just come is young": {g: store("a:", "b:"), old: "a", keep: time.Hour, want: "ab", onlyExpired: "a"},
		"the last use counts": {
			g: store("a:", "b:", "c:"), old: "abc", keep: 5 * time.Hour,
			h: holders{name("a"): {recent(9), recent(2)}, name("b"): {recent(9)}, name("c"): {recent(3)}}, want: "bca", onlyExpired: "b",
		},
		"a use is one of all below": {
			g: store("a: b", "b: c", "c:", "d:"), old: "abcd", keep: 5 * time.Hour,
			h: holders{name("a"): {recent(2)}, name("d"): {recent(3)}}, want: "dabc", onlyExpired: "",
		},
		"unfinished": {g: store("a:"), old: "ax", h: holders{name("a"): {"job:1"}}, want: "x", onlyExpired: "x"},
		"diamond":    {g: store("a: b c", "b: d", "c: b d", "d:"), want: "acbd", onlyExpired: "acbd"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			added := map[string]time.Time{}
			for base := range test.g {
				added[base] = now
			}
			for _, base := range names(test.old) {
				added[base] = now.Add(-1000 * time.Hour)
			}
			order := planCollection(test.g, test.h, added, now.Add(-test.keep), test.keep > 0)
			if got := letters(order); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if got := letters(slices.DeleteFunc(order, func(d doomed) bool { return !d.expired })); got != test.onlyExpired {
				t.Errorf("expired: %s, want %s", got, test.onlyExpired)
			}
		})
	}
}

// volume is a layout with its directories made.
func volume(t *testing.T) volumes.Layout {
	t.Helper()
	l := volumes.Layout{Root: t.TempDir()}
	if err := l.Make(); err != nil {
		t.Fatal(err)
	}
	return l
}

func hold(t *testing.T, dir string, bases ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, b := range bases {
		if err := volumes.Root(dir, b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	l := volume(t)
	hold(t, l.Jobs()+"/1", names("ab")...)
	hold(t, l.Jobs()+"/2", names("b")...)
	if n, err := Release(l, []string{"1", "gone"}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	h, err := findHolders(l)
	if err != nil {
		t.Fatal(err)
	}
	if len(h[name("a")]) != 1 || !isRecent(h[name("a")][0]) || len(h[name("b")]) != 2 {
		t.Error(h)
	}
	for _, bad := range []string{"", "..", "a/b", ".", "-x"} {
		if _, err := Release(l, []string{bad}); err == nil {
			t.Errorf("%q is released", bad)
		}
	}
}

func TestReleaseDead(t *testing.T) {
	t.Parallel()
	l := volume(t)
	now := time.Now()
	for _, job := range []string{"live", "dead", "young"} {
		hold(t, l.Jobs()+"/"+job, name("a"))
	}
	old := now.Add(-time.Hour)
	for _, job := range []string{"live", "dead"} {
		if err := os.Chtimes(l.Jobs()+"/"+job, old, old); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if released, err := releaseDead(t.Context(), l, Order{Live: []string{"live"}}); len(released) != 0 || err != nil {
			t.Fatal("without a time nothing is known to be dead", released, err)
		}
	}
	released, err := releaseDead(t.Context(), l, Order{Live: []string{"live"}, AsOf: now})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"dead"}, released); d != "" {
		t.Error(d)
	}
	if _, err := os.Lstat(filepath.Join(l.Hour(old), name("a"))); err != nil {
		t.Error("it was used when it was changed last:", err)
	}
}

func TestTidyRecent(t *testing.T) {
	t.Parallel()
	l := volume(t)
	hold(t, l.Recent()+"/2026-01-01T01", names("abc")...)
	hold(t, l.Recent()+"/2026-01-01T02", names("b")...)
	hold(t, l.Recent()+"/2026-01-01T03", names("d")...)
	for _, b := range names("ab") {
		if err := os.WriteFile(l.Store()+"/"+b, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h, err := findHolders(l)
	if err != nil {
		t.Fatal(err)
	}
	tidyRecent(l, h, nil)
	if h, err = findHolders(l); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(holders{name("a"): {"recent:2026-01-01T01"}, name("b"): {"recent:2026-01-01T02"}}, h); d != "" {
		t.Error(d)
	}
	if _, err := os.Stat(l.Recent() + "/2026-01-01T03"); err == nil {
		t.Error("an empty hour is left")
	}
}

// TestLeft counts after a collection what counting anew would find.
func TestLeft(t *testing.T) {
	t.Parallel()
	l := volume(t)
	hold(t, l.Pins()+"/x", name("a"))
	hold(t, l.Recent()+"/2026-01-01T01", name("d"))
	graph := func() volumes.Graph { return store("a: b", "b:", "c: b", "d:") }
	h, err := findHolders(l)
	if err != nil {
		t.Fatal(err)
	}
	s := sweeper{l: l, g: graph(), gone: map[string]bool{name("c"): true, name("f"): true}}
	now := graph()
	delete(now, name("c"))
	want := statistics(now, h)
	if got := s.left(); got == nil || want.Paths != 3 || want.Recent.Paths != 1 || cmp.Diff(want, *got) != "" {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestHolders(t *testing.T) {
	t.Parallel()
	l := volume(t)
	hold(t, l.Pins()+"/x", name("a"))
	if err := os.WriteFile(l.State()+"/temproots/12", []byte(volumes.StoreDir+"/"+name("b")+"\x00garbage\x00"+volumes.StoreDir+"/"+name("c")), 0o600); err != nil {
		t.Fatal(err)
	}
	profile := l.State() + "/profiles/p-1-link"
	for link, target := range map[string]string{
		profile: volumes.StoreDir + "/" + name("d") + "/sub", l.State() + "/gcroots/indirect": profile, l.State() + "/gcroots/nowhere": "/none",
		l.State() + "/profiles/p": "p-1-link",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	h, err := findHolders(l)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(h[name("d")])
	want := holders{
		name("a"): {"pin:x"}, name("b"): {"temporary:12"}, name("c"): {"temporary:12"},
		name("d"): {"root:" + l.State() + "/gcroots/indirect", "root:" + l.State() + "/profiles/p", "root:" + profile},
	}
	if d := cmp.Diff(want, h); d != "" {
		t.Error(d)
	}
	g := store("a:", "b:", "c:", "d:", "f:")
	h.add(name("f"), "recent:2026-01-01T01")
	s := statistics(g, h)
	if s.Paths != 5 || s.Bytes != 50 || s.Pins["x"].Paths != 1 || s.Temporary.Paths != 2 || s.Recent.Paths != 1 || s.Dead.Paths != 0 {
		t.Errorf("%+v", s)
	}
}
