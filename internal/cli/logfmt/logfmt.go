// Package logfmt writes slog records the way GitLab Runner's users know them: as its own human
// lines ("runner"), as logrus text ("text") or as logrus JSON ("json"). Tools read the JSON: its
// keys level, msg, time and the attributes stand at the top level.
package logfmt

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
)

// Formats lists the names that Output.SetFormat takes; the first is the default.
func Formats() []string { return []string{"runner", "text", "json"} }

// Levels lists the names that Output.SetLevel takes.
func Levels() []string {
	return []string{"debug", "info", "warn", "error", "fatal", "panic"}
}

// Output is where a program logs to. Format and level may be changed at any time, also for loggers
// made before. All methods may be called concurrently.
type Output struct {
	level   slog.LevelVar
	format  atomic.Int32
	formats []slog.Handler
}

// New returns an Output that writes to w, one Write a record, in the runner format from level info.
// With color, levels are coloured in the runner format.
func New(w io.Writer, color bool) *Output {
	o := &Output{}
	o.formats = []slog.Handler{
		newRunnerHandler(w, &o.level, color),
		slog.NewTextHandler(w, &slog.HandlerOptions{Level: &o.level, ReplaceAttr: asLogrus}),
		slog.NewJSONHandler(w, &slog.HandlerOptions{Level: &o.level, ReplaceAttr: asLogrus}),
	}
	return o
}

// Logger returns a logger that writes to o.
func (o *Output) Logger() *slog.Logger { return slog.New(handler{output: o}) }

// SetFormat changes the format to one of Formats.
func (o *Output) SetFormat(name string) error {
	for i, f := range Formats() {
		if f == name {
			o.format.Store(int32(i)) //nolint:gosec // three formats
			return nil
		}
	}
	return fmt.Errorf("the log format must be one of %s, is %q", strings.Join(Formats(), ", "), name)
}

// SetLevel changes the level to one of Levels; fatal and panic show what error shows.
func (o *Output) SetLevel(name string) error {
	switch name {
	case "debug", "trace":
		o.level.Set(slog.LevelDebug)
	case "info":
		o.level.Set(slog.LevelInfo)
	case "warn", "warning":
		o.level.Set(slog.LevelWarn)
	case "error", "fatal", "panic":
		o.level.Set(slog.LevelError)
	default:
		return fmt.Errorf("the log level must be one of %s, is %q", strings.Join(Levels(), ", "), name)
	}
	return nil
}

// levelName is logrus' name of a level.
func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warning"
	case l >= slog.LevelInfo:
		return "info"
	default:
		return "debug"
	}
}

// asLogrus gives the level logrus' name and errors their text.
func asLogrus(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	if level, ok := a.Value.Any().(slog.Level); ok && a.Key == slog.LevelKey {
		return slog.String(a.Key, levelName(level))
	}
	return a
}
