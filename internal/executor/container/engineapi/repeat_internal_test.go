package engineapi

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
)

// TestRemovalGoesOnForAWhile tries a removal again that another request is at, on a machine that has much to do, and does not wait
// long for what somebody uses, nor at all where the engine does not want to.
func TestRemovalGoesOnForAWhile(t *testing.T) {
	t.Parallel()
	said := func(kind error, words string) error {
		return fmt.Errorf("Error response from daemon: %s: %w", words, kind)
	}
	busy := said(errdefs.ErrConflict, "removal of container x is already in progress")
	const ever, short = time.Hour, 4 * time.Second
	for name, c := range map[string]struct {
		err   error
		ends  time.Duration
		with  error
		fails bool
		min   time.Duration // for which it is tried
		max   time.Duration
	}{
		"at once":                       {},
		"gone":                          {busy, 8 * time.Second, errdefs.ErrNotFound, false, 8 * time.Second, 10 * time.Second},
		"removed":                       {busy, 8 * time.Second, nil, false, 8 * time.Second, 10 * time.Second},
		"it never ends":                 {busy, ever, nil, true, removeTime, removeTime + 2*time.Second},
		"Podman, just ended":            {said(errdefs.ErrInternal, "container state improper"), ever, nil, true, removeTime, removeTime + 2*time.Second},
		"Docker, a file is still open":  {said(errdefs.ErrInternal, "device or resource busy"), 8 * time.Second, nil, false, 8 * time.Second, 10 * time.Second},
		"Docker's volume has users":     {said(errdefs.ErrConflict, "remove x: volume is in use - [0123]"), ever, nil, true, time.Second, short},
		"Podman's volume has users":     {said(errdefs.ErrConflict, "volume x is being used by the following container(s): 0123: volume is being used"), ever, nil, true, time.Second, short},
		"Podman's network has users":    {said(errdefs.ErrInternal, `"x" has associated containers with it: network is being used`), ever, nil, true, time.Second, short},
		"Docker's network has users":    {said(errdefs.ErrPermissionDenied, "network x has active endpoints"), ever, nil, true, time.Second, short},
		"Docker's network had users":    {said(errdefs.ErrPermissionDenied, "network x has active endpoints"), time.Second, nil, false, time.Second, short},
		"another's":                     {said(errdefs.ErrPermissionDenied, "authorization denied by plugin"), ever, nil, true, 0, 0},
		"no such request":               {said(errdefs.ErrNotImplemented, "not implemented"), ever, nil, true, 0, 0},
		"a name that nothing can have":  {said(errdefs.ErrInvalidArgument, "invalid name"), ever, nil, true, 0, 0},
		"what nobody has ever heard of": {errors.New("odd"), ever, nil, true, time.Second, short},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				err := (&Engine{}).repeat(t.Context(), "remove x", func(context.Context) error {
					if time.Since(began) < c.ends {
						return c.err
					}
					return c.with
				})
				if (err != nil) != c.fails || c.fails && !errors.Is(err, c.err) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(began); took < c.min || took > c.max {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}
