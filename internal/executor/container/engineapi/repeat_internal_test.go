package engineapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
)

// TestRemovalGoesOnForAWhile tries a removal again that another request is at, on a machine that has much to do.
func TestRemovalGoesOnForAWhile(t *testing.T) {
	t.Parallel()
	busy := errors.New("removal of container x is already in progress")
	for name, c := range map[string]struct {
		ends  time.Duration
		with  error
		fails bool
		max   time.Duration
	}{
		"at once":       {0, nil, false, 0},
		"gone":          {8 * time.Second, errdefs.ErrNotFound, false, 10 * time.Second},
		"removed":       {8 * time.Second, nil, false, 10 * time.Second},
		"it never ends": {time.Hour, nil, true, removeTime + 2*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := (&Engine{}).repeat(t.Context(), "remove x", func(context.Context) error {
					if time.Since(began) < c.ends {
						return busy
					}
					return c.with
				})
				if (err != nil) != c.fails || c.fails && !errors.Is(err, busy) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(began); took > c.max {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}
