package engineapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// removeAttempts is how often a removal is tried at least that may succeed later, which takes two seconds, and removeTime for how long
// one that surely will: Podman refuses the one of a container that has just ended ("container state improper"), and that of a container
// whose namespaces another still has; Docker that of one which another request removes, and what something on a busy machine still has
// open.
const (
	removeAttempts = 8
	removeTime     = 15 * time.Second
)

// repeat tries a removal until it succeeds, the thing is gone, or it has failed as often, and for as long, as it is worth.
func (e *Engine) repeat(ctx context.Context, what string, remove func(context.Context) error) error {
	began := time.Now()
	for attempt, wait := 1, 20*time.Millisecond; ; attempt, wait = attempt+1, min(2*wait, time.Second) {
		err := e.again(ctx, remove)
		if err == nil || absent(err) {
			return nil
		}
		over := attempt >= removeAttempts && (!transient(err) || time.Since(began) >= removeTime)
		if ctx.Err() != nil || over || refused(err) || IsUnreachable(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !pause(ctx, wait) {
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

// transient reports that the engine is still at something that is in a removal's way, and not that somebody uses the thing.
func transient(err error) bool {
	return !used(err) && (errdefs.IsConflict(err) || errdefs.IsInternal(err) || errdefs.IsUnavailable(err))
}

// refused reports that a removal is never made, however often it is tried.
func refused(err error) bool {
	return !used(err) && (errdefs.IsInvalidArgument(err) || errdefs.IsPermissionDenied(err) || errdefs.IsUnauthorized(err) || errdefs.IsNotImplemented(err))
}

// used reports that a volume or network is not removed because containers have it, which both engines say in words alone: Docker with
// status 409 of a volume and 403 of a network, Podman with 409 or 500.
func used(err error) bool {
	return slices.ContainsFunc([]string{"is in use", "being used", "active endpoints", "associated containers"}, func(words string) bool {
		return strings.Contains(err.Error(), words)
	})
}
