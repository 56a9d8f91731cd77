package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

// ErrUnknown says that the agent does not know the stage: it has not been started there.
var ErrUnknown = errors.New("the agent does not know this stage")

// poll is how long one question for a status waits.
const poll = 50 * time.Second

// The pauses between attempts to reach the agent.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

func stagePath(id, rest string) (string, error) {
	if !wire.ValidID(id) {
		return "", fmt.Errorf("stage id %q: want at most %d of a-z 0-9 _ . -", id, wire.MaxID)
	}
	return "/v1/stages/" + url.PathEscape(id) + rest, nil
}

// Start starts a stage, unless one with its id has been started: then it says when that was.
func (c *Client) Start(ctx context.Context, spec stage.Spec) (s wire.Started, err error) {
	path, err := stagePath(spec.ID, "")
	if err != nil {
		return s, err
	}
	return s, c.call(ctx, http.MethodPut, path, spec, &s)
}

// Status asks how far a stage is, at once.
func (c *Client) Status(ctx context.Context, id string) (wire.Status, error) {
	return c.status(ctx, id, 0)
}

func (c *Client) status(ctx context.Context, id string, wait time.Duration) (s wire.Status, err error) {
	path, err := stagePath(id, "?wait="+strconv.Itoa(int(wait/time.Second)))
	if err != nil {
		return s, err
	}
	if wait > 0 { // an agent that never answers must not stop the runner from asking again
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, wait+quiet, fmt.Errorf("%w: no answer for %s", ErrUnreachable, wait+quiet))
		defer cancel()
	}
	if err := c.call(ctx, http.MethodGet, path, nil, &s); err != nil {
		return wire.Status{}, err
	}
	if s.Over && s.Result == nil {
		return wire.Status{}, fmt.Errorf("the agent says that stage %q is over and not how", id)
	}
	return s, nil
}

// Wait returns when the stage is over, with its result. A connection that cannot be made or breaks is made
// again for as long as ctx lives and dial does not fail: an error of dial ends the wait as an
// ErrUnreachable that wraps it, because dial itself waits for a place that is coming up and knows
// one that has died. A stage that the agent does not know is ErrUnknown.
func (c *Client) Wait(ctx context.Context, id string) (stage.Result, error) {
	for pause := firstPause; ; {
		began := time.Now()
		s, err := c.status(ctx, id, poll)
		var dead *dialError
		switch {
		case err == nil && !s.Known:
			return stage.Result{}, fmt.Errorf("stage %q: %w", id, ErrUnknown)
		case err == nil && s.Over:
			return *s.Result, nil
		case err == nil && time.Since(began) > lastPause:
			pause = firstPause
			continue
		case err == nil: // an agent that does not wait: do not let it keep us busy
		case ctx.Err() != nil:
			return stage.Result{}, context.Cause(ctx)
		case errors.As(err, &dead), !errors.Is(err, ErrUnreachable):
			return stage.Result{}, err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return stage.Result{}, context.Cause(ctx)
		}
		pause = min(2*pause, lastPause)
	}
}

// OpenSpool streams the spool's bytes from offset from until the End record. The reader fails with
// ErrUnreachable when the connection breaks: open it again at the decoder's offset. The caller
// closes it; ctx ends it too.
func (c *Client) OpenSpool(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
	path, err := stagePath(id, "/spool?from="+strconv.FormatInt(from, 10))
	if err != nil {
		return nil, err
	}
	res, err := c.do(ctx, http.MethodGet, path, nil, nil) //nolint:bodyclose // the caller's
	if err != nil {
		return nil, err
	}
	return &body{ctx: ctx, ReadCloser: res.Body}, nil
}

// body gives the errors of a stream their type.
type body struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // the stream's own
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreachable(b.ctx, err)
	}
	return n, err
}

// Ack lets the agent forget the spool before offset to, which must be one that the runner has read up to
// and made durable.
func (c *Client) Ack(ctx context.Context, id string, to int64) error {
	path, err := stagePath(id, "/ack?to="+strconv.FormatInt(to, 10))
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path, nil, nil)
}

// Cancel ends a stage: TERM, and KILL after the grace. It does not wait. A second one with a shorter
// grace hurries the first; the first one's reason stays.
func (c *Client) Cancel(ctx context.Context, id string, cancel wire.Cancel) error {
	path, err := stagePath(id, "/cancel")
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path, cancel, nil)
}
