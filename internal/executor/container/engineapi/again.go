package engineapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

const (
	answerTime = 2 * time.Minute // for one request that is no stream
	breaks     = 4               // so often a request is made whose connection breaks, or which stumbles
)

// again makes a request that may be repeated. An engine that is stopped breaks its connections, and the next
// one waits until it is back. What Podman stumbles over is gone when it looks again.
func (e *Engine) again(ctx context.Context, request func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := e.bounded(ctx, request)
		if err == nil || ctx.Err() != nil || attempt == breaks || !broken(err) && !stumbled(err) || !pause(ctx, time.Duration(attempt)*50*time.Millisecond) {
			return err
		}
	}
}

func (e *Engine) bounded(ctx context.Context, request func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	e.calls.Add(1)
	err := request(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		e.stuck.Store(true)
		return fmt.Errorf("the container engine at %s %w within %s", e.Address.Host, errSilent, answerTime)
	}
	return err
}

var errSilent = errors.New("has not answered")

// IsSilent reports whether the engine could be reached, and has not answered in a time that should do.
func IsSilent(err error) bool { return errors.Is(err, errSilent) }

// broken reports that a request was perhaps made, and its answer has not come.
func broken(err error) bool {
	var down *UnreachableError
	return client.IsErrConnectionFailed(err) && !errors.As(err, &down)
}

// stumbled reports an error of Podman, of status 500, for what changed while it looked: a name of an image was given to
// another one, a container's process ended before its control group was read, a part of an image that another request
// removes was gone before the rest. It is gone when it looks again.
func stumbled(err error) bool {
	return errdefs.IsInternal(err) && slices.ContainsFunc([]string{"image not known", "no such process", "locating item named"}, func(words string) bool {
		return strings.Contains(err.Error(), words)
	})
}

// IsUnreachable reports whether the engine could not be reached, or went away before it answered.
func IsUnreachable(err error) bool {
	var down *UnreachableError
	return errors.As(err, &down) || client.IsErrConnectionFailed(err)
}
