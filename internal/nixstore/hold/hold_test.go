package hold_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/hold"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

func path(t testing.TB, name string) nixwire.StorePath {
	t.Helper()
	p, err := nixwire.FromBase(strings.Repeat("0", 32) + "-" + name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// names are the roots in a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "jobs", "j"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			list = append(list, e.Name())
		}
	}
	return list
}

// TestLedger has many find out at once which of the same paths are valid. In the end there are roots of those that one
// has found valid, and of no others; never does one miss a root that it holds.
func TestLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	links, err := hold.NewLinks(dir, "j")
	if err != nil {
		t.Fatal(err)
	}
	defer links.Close()
	l := hold.NewLedger(links)
	var mu sync.Mutex
	held := map[string]bool{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				p := path(t, fmt.Sprint(rand.IntN(50)))
				fresh, err := l.Begin(t.Context(), []nixwire.StorePath{p, p})
				if err != nil {
					t.Error(err)
					return
				}
				valid := rand.IntN(20) == 0
				first := l.End(fresh, map[nixwire.StorePath]bool{p: valid})
				if len(first) > 0 {
					mu.Lock()
					if held[p.Base()] {
						t.Error("held for the first time twice:", p)
					}
					held[p.Base()] = true
					mu.Unlock()
				}
				if l.Holds(p) { // asked first: it may be from the next moment on
					if _, err := os.Lstat(filepath.Join(dir, "jobs", "j", p.Base())); err != nil {
						t.Error("a root is missing:", err)
					}
				}
			}
		})
	}
	all.Wait()
	if want, got := slices.Sorted(maps.Keys(held)), names(t, dir); !slices.Equal(want, got) || len(l.Held()) != len(want) {
		t.Errorf("held %q, roots %q", want, got)
	}
}

// TestManyLinks makes more links than a file may have names on some file systems, some of them again.
func TestManyLinks(t *testing.T) {
	t.Parallel()
	const count = 70_000
	dir := t.TempDir()
	links, err := hold.NewLinks(dir, "j")
	if err != nil {
		t.Fatal(err)
	}
	defer links.Close()
	paths := make([]nixwire.StorePath, count)
	for i := range paths {
		paths[i] = path(t, fmt.Sprint(i))
	}
	for _, part := range [][]nixwire.StorePath{paths[:count/2], paths} {
		if err := links.Hold(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(names(t, dir)); n != count {
		t.Errorf("%d roots", n)
	}
	again, err := hold.NewLinks(dir, "j")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Hold(t.Context(), paths[:10]); err != nil {
		t.Error("by a successor:", err)
	}
	again.Release(paths[1:])
	if n := names(t, dir); !slices.Equal(n, []string{paths[0].Base()}) {
		t.Errorf("%d roots are left", len(n))
	}
	if _, err := hold.NewLinks(filepath.Join(dir, "missing"), "j"); err == nil {
		t.Error("roots in no directory")
	}
}
