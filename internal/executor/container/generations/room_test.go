package generations_test

import (
	"context"
	"errors"
	"math"
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

// TestRoomOfACopy leaves jobs' engines, which are bounded by what is free, most of it.
func TestRoomOfACopy(t *testing.T) {
	t.Parallel()
	const mib, gib = int64(1 << 20), int64(1 << 30)
	for _, c := range []struct {
		free, size, take int64 // 0: it is refused
	}{
		{free: 101 * gib, size: gib, take: 5 * gib},
		{free: 101 * gib, size: 4 * gib, take: 17 * gib},
		{free: 5 * gib, size: 100 * mib, take: gib},
		{free: 5 * gib, size: 300 * mib},
		{free: gib, size: 1},
		{free: 0, size: 1},
		{free: 101 * gib, size: math.MaxInt64},
	} {
		r, ok := generations.RoomFor(c.free, c.size, gib)
		if ok != (c.take > 0) || r.Bytes != c.take || ok && r.Floor != c.free-(c.free-gib)/4 {
			t.Errorf("%d MiB with %d free: %+v, %v", c.size>>20, c.free>>20, r, ok)
		}
	}
}
