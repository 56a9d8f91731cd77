package slot

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// took is what came of Take.
type took struct {
	slot  Slot
	there bool
	after time.Duration
}

func TestTakeWaitsForWhatIsComing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		coming int
		takers int
		then   func(p *Pool)
		want   int           // how many get a slot
		after  time.Duration // that the others wait at most
	}{
		"nothing is coming":     {0, 1, func(*Pool) {}, 0, 0},
		"it comes":              {1, 1, func(p *Pool) { p.store(Slot{Name: "a"}) }, 1, 0},
		"it stays":              {1, 1, func(p *Pool) { p.Stays("a") }, 0, 0},
		"it takes long":         {1, 1, func(*Pool) {}, 0, waitTime},
		"one comes, two want":   {1, 2, func(p *Pool) { p.store(Slot{Name: "a"}) }, 1, 0},
		"two come, one stays":   {2, 2, func(p *Pool) { p.Stays("b"); p.store(Slot{Name: "a"}) }, 1, waitTime},
		"the pool is closed":    {1, 1, func(p *Pool) { _ = p.Close(context.Background()) }, 0, 0},
		"two come, for two":     {2, 2, func(p *Pool) { p.store(Slot{Name: "b"}); p.store(Slot{Name: "a"}) }, 2, 0},
		"it comes to nobody":    {1, 0, func(p *Pool) { p.store(Slot{Name: "a"}) }, 0, 0},
		"more come than wanted": {2, 1, func(p *Pool) { p.store(Slot{Name: "b"}) }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := NewPool(&engineapi.Engine{Kind: engineapi.Docker}, Kind{}, 8, time.Hour, slog.New(slog.DiscardHandler))
				defer func() {
					p.mu.Lock()
					defer p.mu.Unlock()
					p.disarm()
				}()
				for i := range c.coming {
					p.Coming(string(rune('a' + i)))
				}
				outcome := make(chan took, c.takers)
				began := time.Now()
				for range c.takers {
					go func() {
						s, there := p.Take(t.Context())
						outcome <- took{s, there, time.Since(began)}
					}()
				}
				synctest.Wait()
				c.then(p)
				got := 0
				for range c.takers {
					o := <-outcome
					if o.there {
						got++
					}
					if o.after > c.after {
						t.Errorf("somebody has waited for %s", o.after)
					}
				}
				if got != c.want {
					t.Errorf("%d got a slot, want %d", got, c.want)
				}
				if p.waiting != 0 {
					t.Errorf("%d are counted as waiting", p.waiting)
				}
			})
		})
	}
}
