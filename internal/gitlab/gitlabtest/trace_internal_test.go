package gitlabtest

import (
	"testing"
	"time"
)

// TestPatchOfTheDead lets a runner die while its patch is being taken: the next one may repeat it.
func TestPatchOfTheDead(t *testing.T) {
	t.Parallel()
	for name, died := range map[string]bool{"alive": false, "dead": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := &record{id: 1, started: time.Unix(1, 0), mayRepeatPatch: true}
			c := &Coordinator{jobs: map[int64]*record{1: j}}
			deaths := c.deaths
			if died {
				c.RunnerDied()
			}
			c.patched(j, deaths)
			if j.mayRepeatPatch != died {
				t.Errorf("a patch may be repeated: %v, want %v", j.mayRepeatPatch, died)
			}
		})
	}
}
