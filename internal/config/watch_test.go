package config_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
)

// watching is a Watcher that runs until the test ends.
type watching struct {
	t      *testing.T
	path   string
	events chan config.Event
	reload chan struct{}
}

func watch(t *testing.T, path string, interval time.Duration) *watching {
	t.Helper()
	current, err := config.Load(path, options())
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{t: t, path: path, events: make(chan config.Event), reload: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		config.Watcher{
			Path: path, Options: options(), Interval: interval, Reload: w.reload,
			Changed: func(e config.Event) {
				select {
				case w.events <- e:
				case <-ctx.Done():
				}
			},
		}.Run(ctx, current)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *watching) next() config.Event {
	w.t.Helper()
	select {
	case e := <-w.events:
		return e
	case <-time.After(time.Minute):
		w.t.Fatal("no event")
		return config.Event{}
	}
}

// put replaces the file by rename, as editors do.
func (w *watching) put(text string) {
	w.t.Helper()
	write(w.t, w.path+".new", text, 0o600)
	if err := os.Rename(w.path+".new", w.path); err != nil {
		w.t.Fatal(err)
	}
}

func TestWatchKeepsTheOldAndReportsOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, "concurrent = 1\n", 0o600)
	w := watch(t, path, time.Millisecond)

	w.put("concurrent = 2\n")
	if e := w.next(); e.Err != nil || e.Config.Concurrent != 2 {
		t.Fatalf("%+v", e)
	}
	w.put("concurrent = broken\n")
	if e := w.next(); e.Err == nil || e.Config != nil || !strings.Contains(e.Err.Error(), "config.toml:1") {
		t.Fatalf("%+v", e)
	}
	// Were the broken file reported again, the next event would be that.
	w.put("concurrent = 3\n")
	if e := w.next(); e.Err != nil || e.Config.Concurrent != 3 {
		t.Fatalf("%+v", e)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if e := w.next(); e.Err == nil {
		t.Fatalf("%+v", e)
	}
	w.put("concurrent = 4\n")
	if e := w.next(); e.Err != nil || e.Config.Concurrent != 4 {
		t.Fatalf("%+v", e)
	}
	// Same size, in place.
	write(t, path, "concurrent = 5\n", 0o600)
	if e := w.next(); e.Err != nil {
		e = w.next() // seen between truncation and writing
		if e.Err != nil || e.Config.Concurrent != 5 {
			t.Fatalf("%+v", e)
		}
	}
}

func TestWatchReloadsWhenAsked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, "concurrent = 1\n", 0o600)
	w := watch(t, path, time.Hour)
	w.reload <- struct{}{}
	if e := w.next(); e.Err != nil || e.Config.Concurrent != 1 {
		t.Fatalf("%+v", e)
	}
}

func TestWatchSeesTokenFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.toml")
	token := filepath.Join(filepath.Dir(path), "token")
	write(t, token, "glrt-old", 0o600)
	write(t, path, "[[runners]]\nurl = \"https://x\"\ntoken_file = \"token\"\nexecutor = \"shell\"\n", 0o600)
	w := watch(t, path, time.Millisecond)
	write(t, token+".new", "glrt-new", 0o600)
	if err := os.Rename(token+".new", token); err != nil {
		t.Fatal(err)
	}
	if e := w.next(); e.Err != nil || e.Config.Runners[0].Token != "glrt-new" {
		t.Fatalf("%+v", e)
	}
}

func TestWatchSeesWhatChangedBeforeItRan(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, "concurrent = 1\n", 0o600)
	current, err := config.Load(path, options())
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "concurrent = 22\n", 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	var got config.Event
	config.Watcher{Path: path, Options: options(), Interval: time.Millisecond, Changed: func(e config.Event) {
		got = e
		cancel()
	}}.Run(ctx, current)
	if got.Err != nil || got.Config.Concurrent != 22 {
		t.Fatalf("%+v", got)
	}
}
