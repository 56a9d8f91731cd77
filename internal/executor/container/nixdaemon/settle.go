package nixdaemon

import (
	"context"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// A container that has just ended may be one that somebody is removing, and what Podman is made to start in the middle of that
// runs on without its files. So it is left alone
const (
	settle    = time.Second           // after its end
	lookAgain = 50 * time.Millisecond // as long as it is said to be removed, but not longer than
	removal   = time.Minute
)

// settled is the state of a daemon's container, once it can be gone by: unless this process has stopped it, one that has ended
// stays so. Its domain's making is held.
func settled(ctx context.Context, e *engineapi.Engine, d *domain, s Spec) (engineapi.State, error) {
	for began := time.Now(); ; {
		state, err := e.State(ctx, s.Name())
		if err != nil || state.Running || state.Created {
			return state, err
		}
		looking := time.Since(began) // the engine's clock may be another
		left := settle - max(time.Since(state.Ended), looking)
		if state.Removing && looking < removal {
			left = max(left, lookAgain)
		} else if left <= 0 || d.stopped {
			return state, nil
		}
		if err := pause(ctx, left); err != nil {
			return engineapi.State{}, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
