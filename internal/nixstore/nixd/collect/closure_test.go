package collect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
)

// graph is a store's database: the references of each valid path.
type graph map[string][]string

func (g graph) info(path string) (worker.Info, bool, error) {
	refs, valid := g[path]
	if valid && refs == nil {
		return worker.Info{}, false, errors.New("the database is locked")
	}
	return worker.Info{Path: path, References: refs}, valid, nil
}

// TestGathersWhatIsWhole has a queue with paths of which something is missing: they alone are left out, and why is said.
func TestGathersWhatIsWhole(t *testing.T) {
	t.Parallel()
	g := graph{
		"a": {"b", "a"}, "b": {"base"}, "base": {},
		"broken": {"base", "half", "b"}, "half": {"only", "gone"}, "only": {}, "also": {"half"}, "above": {"broken", "b"}, "other": {"only"},
	}
	p, err := gather(g.info, []string{"above", "a", "broken", "also", "vanished", "other"})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, i := range p.Paths {
		paths = append(paths, i.Path)
	}
	if diff := cmp.Diff([]string{"base", "only", "b", "a", "other"}, paths); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"above", "a", "broken", "also", "vanished", "other"}, p.Queue); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"above", "broken", "also"} {
		if !strings.Contains(p.Bad[bad], "half refers to gone") {
			t.Errorf("%s: %q", bad, p.Bad[bad])
		}
	}
	if len(p.Bad) != 4 || !strings.Contains(p.Bad["vanished"], "deleted") {
		t.Errorf("%q", p.Bad)
	}
	if _, err := gather(graph{"a": {"b"}, "b": nil}.info, []string{"a"}); err == nil || !strings.Contains(err.Error(), "ask about b: the database is locked") {
		t.Error(err)
	}
}

// TestEveryPathHasItsTurn has a queue of which most is never taken out.
func TestEveryPathHasItsTurn(t *testing.T) {
	t.Parallel()
	queue, seen := []string{"a", "b", "c", "d", "e"}, map[string]bool{}
	for range 1000 {
		told := some(queue, 3)
		if slices.Sort(told); len(slices.Compact(told)) != 3 {
			t.Fatalf("told %v, want three", told)
		}
		for _, p := range told {
			seen[p] = true
		}
	}
	if len(seen) != len(queue) || !slices.IsSorted(queue) {
		t.Errorf("told %v of %v", seen, queue)
	}
}

// TestGathersNotTooMuchAtOnce bounds what is told of a long queue, and of one with much below.
func TestGathersNotTooMuchAtOnce(t *testing.T) {
	t.Parallel()
	g, queue := graph{}, []string{}
	for i := range maxPending + 1 {
		queue = append(queue, fmt.Sprint(i))
		g[queue[i]] = []string{}
	}
	if p, err := gather(g.info, some(queue, maxPending)); err != nil || len(p.Queue) != maxPending || len(p.Paths) != maxPending {
		t.Errorf("%d, %d, %v", len(p.Queue), len(p.Paths), err)
	}
	for i := range maxBelow {
		below := fmt.Sprint("below ", i)
		g[below] = []string{}
		g["1"] = append(g["1"], below)
	}
	if p, err := gather(g.info, queue); err != nil || len(p.Queue) != 2 || len(p.Paths) != maxBelow+2 {
		t.Errorf("%d, %d, %v", len(p.Queue), len(p.Paths), err)
	}
}
