package logfmt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// handler passes records to the format in force; attributes and groups are kept to be given to
// whichever that is.
type handler struct {
	output *Output
	with   []func(slog.Handler) slog.Handler
}

// Enabled reports whether records of level are written.
func (h handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.output.level.Level()
}

// Handle writes r.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	to := h.output.formats[h.output.format.Load()]
	for _, with := range h.with {
		to = with(to)
	}
	return to.Handle(ctx, r)
}

// WithAttrs returns a handler that adds attrs.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup returns a handler that puts what follows into a group.
func (h handler) WithGroup(name string) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h handler) and(with func(slog.Handler) slog.Handler) handler {
	return handler{output: h.output, with: append(h.with[:len(h.with):len(h.with)], with)}
}

// runnerHandler writes "LEVEL: message     key=value" lines, with the message padded so that the
// attributes of neighbouring lines stand below each other.
type runnerHandler struct {
	mu     *sync.Mutex
	w      io.Writer
	level  slog.Leveler
	color  bool
	prefix string // of the group
	attrs  string // written already
}

func newRunnerHandler(w io.Writer, level slog.Leveler, color bool) *runnerHandler {
	return &runnerHandler{mu: &sync.Mutex{}, w: w, level: level, color: color}
}

// Enabled reports whether records of level are written.
func (h *runnerHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithAttrs returns a handler that adds attrs.
func (h *runnerHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	var b bytes.Buffer
	for _, a := range attrs {
		writeAttr(&b, h.prefix, a)
	}
	c.attrs += b.String()
	return &c
}

// WithGroup returns a handler that puts name and a dot before the keys that follow.
func (h *runnerHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.prefix += name + "."
	return &c
}

// Handle writes r as one line.
func (h *runnerHandler) Handle(_ context.Context, r slog.Record) error {
	const width = 50 // GitLab Runner's
	begin, prefix := "", ""
	switch {
	case r.Level >= slog.LevelError:
		begin, prefix = "\x1b[31;1m", "ERROR: "
	case r.Level >= slog.LevelWarn:
		begin, prefix = "\x1b[33;1m", "WARNING: "
	case r.Level < slog.LevelInfo:
		begin = "\x1b[37m"
	}
	var b bytes.Buffer
	message := prefix + strings.TrimRight(r.Message, "\n")
	var attrs bytes.Buffer
	attrs.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&attrs, h.prefix, a)
		return true
	})
	if attrs.Len() > 0 {
		message = fmt.Sprintf("%-*s", width+len(prefix), message)
	}
	if h.color && begin != "" {
		message = begin + message + "\x1b[0;m"
	}
	b.WriteString(message)
	b.Write(attrs.Bytes())
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(b.Bytes())
	return err
}

func writeAttr(b *bytes.Buffer, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, g := range v.Group() {
			writeAttr(b, prefix, g)
		}
		return
	}
	if a.Key == "" {
		return
	}
	text := v.String()
	if text == "" || strings.ContainsAny(text, " \"=") || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' }) {
		text = fmt.Sprintf("%q", text)
	}
	fmt.Fprintf(b, " %s%s=%s", prefix, a.Key, text)
}
