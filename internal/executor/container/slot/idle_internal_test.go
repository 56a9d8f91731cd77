package slot

import (
	"testing"
	"time"
)

func TestAged(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		idle []time.Duration // for how long, the longest first
		want int
	}{
		"none":                     {nil, 0},
		"all are fresh":            {[]time.Duration{time.Minute, time.Second}, 0},
		"the older ones":           {[]time.Duration{time.Hour, 6 * time.Minute, time.Minute}, 2},
		"the last one is kept":     {[]time.Duration{2 * time.Hour, time.Hour}, 1},
		"the last one for a day":   {[]time.Duration{time.Hour}, 0},
		"but not for two":          {[]time.Duration{48 * time.Hour}, 1},
		"nothing of a pool is new": {[]time.Duration{50 * time.Hour, 49 * time.Hour, 48 * time.Hour}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var idle []Slot
			for _, d := range c.idle {
				idle = append(idle, Slot{since: now.Add(-d)})
			}
			if got := aged(idle, now, IdleFor); got != c.want {
				t.Errorf("%d of them are too old, want %d", got, c.want)
			}
		})
	}
}
