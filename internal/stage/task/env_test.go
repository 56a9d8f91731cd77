package task

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
)

// Whatever variables a job has, programs start, and the shell is told of those that exec does not take.
func TestSplitBig(t *testing.T) {
	t.Parallel()
	many := func(n, size int) (vars []stage.Var) {
		for i := range n {
			vars = append(vars, stage.Var{Key: fmt.Sprintf("V%d", i), Value: strings.Repeat("x", size)})
		}
		return vars
	}
	for name, tt := range map[string]struct {
		vars []stage.Var
		big  int
	}{
		"few":                {many(10, 100), 0},
		"the longest string": {many(1, maxVar-len("V0=")-1), 0},
		"a longer one":       {many(1, maxVar-len("V0=")), 1},
		"many of 64 KiB":     {many(100, 64<<10), 85},
		"very many":          {many(60_000, 40), 41_078},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := NewEnv([]string{"PATH=/bin", "HOME=/"}, tt.vars)
			env.Set("LAST", "1")
			small, big := splitBig(env, 1<<20)
			if len(small.List())+len(big) != len(tt.vars)+3 || len(big) != tt.big {
				t.Errorf("%d stay and %d go, of %d; want %d", len(small.List()), len(big), len(tt.vars)+3, tt.big)
			}
			for _, k := range []string{"PATH", "HOME", "LAST"} {
				if small.Get(k) == "" {
					t.Errorf("%s is gone", k)
				}
			}
			cmd := exec.CommandContext(t.Context(), "/bin/true")
			if cmd.Env = fitting(env.List()); cmd.Run() != nil {
				t.Error("exec refuses what fits")
			}
		})
	}
}
