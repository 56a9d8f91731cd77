package container

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestNoRoomForImages(t *testing.T) {
	t.Parallel()
	f, e := offering(t)
	f.root = t.TempDir()
	v := draws(t, e)
	if _, err := v.roomFor(t.Context(), 1<<60); err == nil || !strings.Contains(err.Error(), "MiB are free at") {
		t.Error(err)
	}
	f.root = "/nowhere"
	if dir, err := v.roomFor(t.Context(), 1<<60); dir != "" || err != nil {
		t.Errorf("where nothing can be known: %q, %v", dir, err)
	}
}

// TestCopyThatFillsTheDisk is given up, whatever the job's engine has said of the size.
func TestCopyThatFillsTheDisk(t *testing.T) {
	t.Parallel()
	copies := func(ctx context.Context) error { <-ctx.Done(); return errors.New("the connection is closed") }
	err := whileRoom(t.Context(), t.TempDir(), 1<<62, time.Millisecond, copies)
	if err == nil || !strings.Contains(err.Error(), "they take more room than they should") {
		t.Error(err)
	}
	fails := errors.New("it is refused")
	for dir, want := range map[string]error{t.TempDir(): fails, "": fails, t.TempDir() + "/nowhere": nil} {
		if err := whileRoom(t.Context(), dir, 0, time.Millisecond, func(context.Context) error { return want }); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", dir, err, want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errOffersOver)
	if err := whileRoom(ctx, t.TempDir(), 0, time.Hour, copies); !errors.Is(err, errOffersOver) {
		t.Errorf("when the runner ends: %v", err)
	}
}
