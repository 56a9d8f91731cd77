package container

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// inTurn is a writer that holds back what it gets until the turn has come, so that the lines of what is done side
// by side come in an order that does not depend on who was faster.
type inTurn struct {
	out  io.Writer
	turn *step

	mu   sync.Mutex
	held bytes.Buffer
}

func (w *inTurn) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held.Write(p)
	select {
	case <-w.turn.done:
		return len(p), w.flush()
	default:
		return len(p), nil
	}
}

// end waits for the turn unless something is wrong, and writes what is held back.
func (w *inTurn) end(ctx context.Context, wrong error) {
	if wrong == nil {
		_ = w.turn.wait(ctx) // its error is its own
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.flush() // the log's own trouble is told elsewhere
}

func (w *inTurn) flush() error {
	_, err := w.held.WriteTo(w.out)
	return err
}
