package generations_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/container/generations"
)

// TestCopyThatFillsTheDisk is given up, whatever the job's engine has said of the size.
func TestCopyThatFillsTheDisk(t *testing.T) {
	t.Parallel()
	copies := func(ctx context.Context) error { <-ctx.Done(); return errors.New("the connection is closed") }
	err := generations.WhileRoom(t.Context(), t.TempDir(), 1<<62, time.Millisecond, copies)
	if err == nil || !strings.Contains(err.Error(), "they take more room than they should") {
		t.Error(err)
	}
	fails := errors.New("it is refused")
	for dir, want := range map[string]error{t.TempDir(): fails, "": fails, t.TempDir() + "/nowhere": nil} {
		if err := generations.WhileRoom(t.Context(), dir, 0, time.Millisecond, func(context.Context) error { return want }); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", dir, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(generations.ErrOver)
	if err := generations.WhileRoom(ctx, t.TempDir(), 0, time.Hour, copies); !errors.Is(err, generations.ErrOver) {
		t.Errorf("when the runner ends: %v", err)
	}
}
