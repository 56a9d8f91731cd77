package status

import (
	"context"
	"log/slog"
)

// The level labels of gitlab_runner_errors_total, which are logrus's names.
const (
	levelWarning = "warning"
	levelError   = "error"
)

// CountLog returns a handler that passes everything to next and counts warnings and errors.
func (b *Board) CountLog(next slog.Handler) slog.Handler {
	return counting{Handler: next, metrics: b.metrics}
}

type counting struct {
	slog.Handler
	metrics *metrics
}

// Handle implements slog.Handler.
func (c counting) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Level >= slog.LevelError:
		c.metrics.errors.WithLabelValues(levelError).Inc()
	case r.Level >= slog.LevelWarn:
		c.metrics.errors.WithLabelValues(levelWarning).Inc()
	}
	return c.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (c counting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return counting{Handler: c.Handler.WithAttrs(attrs), metrics: c.metrics}
}

// WithGroup implements slog.Handler.
func (c counting) WithGroup(name string) slog.Handler {
	return counting{Handler: c.Handler.WithGroup(name), metrics: c.metrics}
}
