package nested

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// CommandAwait is how the program, started beside an engine, waits until that answers, for AwaitTime; after it comes the socket's path.
const CommandAwait = "nested-await"

// AwaitTime is how long an engine may take until it answers: on a machine that has much to do, many times what it needs.
const AwaitTime = 3 * time.Minute

const awaitPause = 100 * time.Millisecond

// await waits until the engine at a socket answers.
func await(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, AwaitTime)
	defer cancel()
	h := newHealth(socket)
	for pause := time.Millisecond; ; pause = min(2*pause, awaitPause) {
		err := h.ping(ctx)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("the engine does not answer within %s: %w", AwaitTime, err)
		}
	}
}

// ping asks the engine whether it is there, whatever it answers.
func (h *health) ping(ctx context.Context) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return err
	}
	r, err := h.http.Do(q)
	if err != nil {
		return err
	}
	return r.Body.Close()
}
