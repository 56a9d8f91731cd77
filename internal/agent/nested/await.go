package nested

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// CommandAwait is how the program, started beside an engine, waits until that answers; after it comes the socket's path.
const CommandAwait = "nested-await"

const (
	awaitTime  = time.Minute // which is as long as anybody asks
	awaitPause = 100 * time.Millisecond
)

// await waits until the engine at a socket answers.
func await(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTime)
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
			return fmt.Errorf("the engine does not answer: %w", err)
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
