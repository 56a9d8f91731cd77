package volumes

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// name makes a store path's name of a letter.
func name(c string) string { return strings.Repeat(c, 32) + "-" + c }

func TestParseDump(t *testing.T) {
	t.Parallel()
	want := Graph{
		name("a"): {Size: 120, Hash: "00ff", Deriver: StoreDir + "/" + name("d"), Refs: []string{name("a"), name("b")}},
		name("b"): {Size: 7, Hash: "11"},
		name("c"): {Size: 8, Hash: "22", Refs: []string{name("b")}},
	}
	var text strings.Builder
	for _, n := range []string{"a", "b", "c"} {
		text.WriteString(want[name(n)].Registration(name(n)))
	}
	got, err := ParseDump(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	tops := got.Tops()
	slices.Sort(tops)
	if d := cmp.Diff([]string{name("a"), name("c")}, tops); d != "" {
		t.Error(d)
	}
	set := map[string]bool{name("c"): true}
	got.Close(set)
	if d := cmp.Diff(map[string]bool{name("b"): true, name("c"): true}, set); d != "" {
		t.Error(d)
	}
}

func TestParseDumpRefuses(t *testing.T) {
	t.Parallel()
	path := StoreDir + "/" + name("a")
	for _, text := range []string{
		"x\n", path, path + "\nh\n", path + "\nh\nx\n\n0\n", path + "\nh\n-1\n\n0\n", path + "\nh\n1\n\n-1\n", path + "\nh\n1\n\n99999999\n",
		path + "\nh\n1\n\n1\n", path + "\nh\n1\n\n1\n/etc/passwd\n", path + "\nh\n1\n\n1\n" + StoreDir + "/..\n",
	} {
		if g, err := ParseDump(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %v", text, g)
		}
	}
}

func FuzzParseDump(f *testing.F) {
	f.Add(Node{Size: 1, Hash: "h", Refs: []string{name("b")}}.Registration(name("a")))
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseDump(strings.NewReader(text))
		if err != nil {
			return
		}
		for base, n := range g {
			if !IsStoreName(base) || n.Size < 0 || !slices.IsSortedFunc(n.Refs, func(a, b string) int {
				if !IsStoreName(a) || !IsStoreName(b) {
					return 1
				}
				return 0
			}) {
				t.Fatalf("%q: %+v", base, n)
			}
		}
		g.Close(map[string]bool{"": true})
		_ = g.Tops()
	})
}

func TestBasename(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]string{
		StoreDir + "/" + name("a"):               name("a"),
		StoreDir + "/" + name("a") + "/bin/x":    name("a"),
		StoreDir + "/" + name("e"):               "", // no digit of a hash
		StoreDir + "/" + name("a") + "/../x":     "",
		StoreDir + "/../store/" + name("a"):      name("a"),
		"/etc/passwd":                            "",
		StoreDir:                                 "",
		StoreDir + "/.links":                     "",
		name("a"):                                "",
		StoreDir + "/" + name("a") + "\n":        "",
		StoreDir + "/" + strings.Repeat("a", 33): "",
	} {
		if got := Basename(p); got != want {
			t.Errorf("%q: %q, want %q", p, got, want)
		}
	}
}
