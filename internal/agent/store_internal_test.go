package agent

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestADirectoryThatStaysTakenIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	held, err := openStore(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.close()
	if _, err := openStore(t.Context(), dir, 30*time.Millisecond); !errors.Is(err, ErrRunning) {
		t.Errorf("after the wait: %v, want ErrRunning", err)
	}
	told := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(told)
	if _, err := openStore(ctx, dir, time.Hour); !errors.Is(err, ErrRunning) || !errors.Is(err, told) {
		t.Errorf("while told to stop: %v, want both reasons", err)
	}
}
