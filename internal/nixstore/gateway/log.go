package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// maxSaid is how many lines a gateway writes to its log: a job can provoke as many as it likes.
const maxSaid = 200

// few passes on so many records, and no more.
type few struct {
	slog.Handler

	left *atomic.Int64
}

func newFew(log *slog.Logger, n int64) *slog.Logger {
	f := few{Handler: log.Handler(), left: &atomic.Int64{}}
	f.left.Store(n)
	return slog.New(f)
}

// Enabled implements slog.Handler.
func (f few) Enabled(ctx context.Context, level slog.Level) bool {
	return f.left.Load() > 0 && f.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (f few) Handle(ctx context.Context, r slog.Record) error {
	switch n := f.left.Add(-1); {
	case n < 0:
		return nil
	case n == 0:
		r.Message += "; this gateway says no more"
	}
	return f.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (f few) WithAttrs(attrs []slog.Attr) slog.Handler {
	return few{Handler: f.Handler.WithAttrs(attrs), left: f.left}
}

// WithGroup implements slog.Handler.
func (f few) WithGroup(name string) slog.Handler {
	return few{Handler: f.Handler.WithGroup(name), left: f.left}
}
