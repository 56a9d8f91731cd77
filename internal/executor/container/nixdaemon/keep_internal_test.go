package nixdaemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// Daemons that an earlier process has left are stopped when no job comes for them, also those of which nothing is known.
func TestStopsWhatAnEarlierProcessLeft(t *testing.T) {
	t.Parallel()
	s := &script{answer: (&orders{}).answer}
	path := filepath.Join(t.TempDir(), "nix.json")
	k := s.keeper(t, Options{Path: path})
	short := func(name string) Spec {
		a := spec(name, Policy{})
		a.Idle = 10 * time.Millisecond
		return a
	}
	for _, name := range []string{"used", "unused"} {
		k.Use(short(name)) // the process ends before the job
		if _, err := k.Ensure(t.Context(), short(name), "id"); err != nil {
			t.Fatal(err)
		}
	}
	alone := short("alone")
	alone.Labels = map[string]string{"ref": "over"}
	k.Use(alone)
	if _, err := k.Ensure(t.Context(), alone, "id"); err != nil {
		t.Fatal(err)
	}
	k.Close()

	k = s.keeper(t, Options{Path: path})
	s.done()
	done := k.Use(short("used"))
	k.Adopt("o", []string{"used", "unused", "unknown"}, func(labels map[string]string) bool { return labels["ref"] == "over" })
	s.did("stop unused")
	k.mu.Lock()
	if d := k.domains["unknown"]; d == nil || d.idle == nil || d.Spec.Idle != orphanIdle {
		t.Errorf("%+v", d)
	}
	k.mu.Unlock()
	if k.Has("alone") {
		t.Error("the store of a job that is over is still known")
	}
	if did := s.done("stop"); len(did) > 0 {
		t.Errorf("%q", did)
	}
	done()
	s.did("stop used")
}

// A store that somebody has removed is not made again for a collection.
func TestForgetsAStoreThatIsGone(t *testing.T) {
	t.Parallel()
	gone := make(chan string, 1)
	s := &script{answer: (&orders{}).answer}
	k := s.keeper(t, Options{Tend: time.Hour, Gone: func(name string) { gone <- name }})
	a := spec("a", Policy{Every: time.Hour})
	done := k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	done()
	s.mu.Lock()
	clear(s.volumes)
	clear(s.containers)
	s.mu.Unlock()
	s.done()
	if _, err := k.Paths(t.Context(), "a"); !errors.Is(err, ErrNoStore) {
		t.Error(err)
	}
	if <-gone != "a" || k.Has("a") || len(s.done("create")) > 0 {
		t.Error("it is still known")
	}
}

// Builds without the sandbox are said once, where the sandbox was to be tried.
func TestSaysThatThereIsNoSandbox(t *testing.T) {
	t.Parallel()
	var log lines
	said := make(chan bool, 9)
	o := &orders{info: nixd.Info{Sandbox: "off", Why: "no namespaces"}}
	s := &script{answer: o.answer}
	k := s.keeper(t, Options{Tend: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil)), Sandbox: func(_ string, on bool) { said <- on }})
	off := spec("off", Policy{})
	off.Settings.Sandbox = nixd.SandboxOff
	for range 2 {
		for _, a := range []Spec{spec("a", Policy{}), off} {
			defer k.Use(a)()
			if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
				t.Fatal(err)
			}
			why, is := k.Unsandboxed(t.Context(), a)
			if want := a.Domain == "a"; is != want || why != "no namespaces" {
				t.Errorf("%s: %q %t", a.Domain, why, is)
			}
			s.mu.Lock()
			s.containers[a.Name()].running = false // and is started again
			s.mu.Unlock()
		}
	}
	if <-said {
		t.Error("it is said to be on")
	}
	k.Close()
	if got := log.count("WITHOUT A SANDBOX"); got != 1 {
		t.Errorf("said %d times: %s", got, log.String())
	}
}

// What commands ask is asked of the daemon, which is started for it.
func TestCommandsStartTheDaemon(t *testing.T) {
	t.Parallel()
	o := &orders{stat: nixd.Stat{Paths: 5, Bytes: 50, Dead: nixd.Share{Paths: 2, Bytes: 20}}}
	s := &script{answer: o.answer}
	k := s.keeper(t, Options{Tend: time.Hour})
	a := spec("a", Policy{})
	a.Idle = time.Millisecond
	done := k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	if got := k.Stores(t.Context()); len(got) != 1 || got[0].Daemon != Running || got[0].Jobs != 1 || got[0].All.Paths != 5 || got[0].Scopes[0] != "s" {
		t.Errorf("%+v", got)
	}
	done()
	s.did("stop a")
	if got := k.Stores(t.Context()); len(got) != 1 || got[0].Daemon != Stopped || got[0].Jobs != 0 || got[0].Dead.Bytes != 20 {
		t.Errorf("%+v", got)
	}
	paths, err := k.Paths(t.Context(), "a")
	if diff := cmp.Diff([]nixd.Path{{Path: "/nix/store/x", Roots: []string{"--roots"}}}, paths); diff != "" || err != nil {
		t.Error(diff, err)
	}
	all, err := k.Pin(t.Context(), "a", "name", []string{"x", "y"})
	if diff := cmp.Diff([]string{"name", "x", "y"}, all); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if all, err = k.Unpin(t.Context(), "a", "name"); len(all) != 1 || err != nil {
		t.Error(all, err)
	}
	if got := k.Sizes(); got["a-store"] != 50 {
		t.Errorf("%v", got)
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) count(what string) int { return strings.Count(l.String(), what) }

// A daemon that somebody is removing is not started, but made again when it is gone.
func TestStartsNothingThatIsBeingRemoved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*words{
		"has just ended":        {looks: 1},
		"is said to be removed": {removing: true, looks: 3},
	} {
		s := &script{answer: (&orders{}).answer}
		k := s.keeper(t, Options{Look: time.Hour, Tend: time.Hour})
		a := spec("a", Policy{})
		for job, want := range []string{"create a, start a", "create a, start a"} {
			if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
				t.Fatal(err)
			}
			did := slices.DeleteFunc(s.done("create", "start"), func(l string) bool { return strings.HasSuffix(l, "-seed") })
			if got := strings.Join(did, ", "); got != want {
				t.Errorf("%s: for job %d: %s", name, job, got)
			}
			s.mu.Lock()
			c.labels, c.started = s.containers["a"].labels, true
			if !c.removing {
				c.ended = time.Now().Add(time.Hour) // by the engine's clock, whatever is between this and the look at it
			}
			s.containers["a"] = c
			s.mu.Unlock()
		}
	}
}

// One that this process has stopped, or that has ended long ago, is started at once, and whatever a clock says.
func TestStartsWhatHasEnded(t *testing.T) {
	t.Parallel()
	s := &script{answer: (&orders{}).answer}
	k := s.keeper(t, Options{Look: time.Hour, Tend: time.Hour})
	a := spec("a", Policy{})
	d := k.lookUp(a)
	e, err := k.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*words{
		"stopped": {started: true, ended: time.Now().Add(time.Hour)},
		"long":    {started: true, ended: time.Now().Add(-time.Hour)},
		"never":   {started: true},
		"made":    {ended: time.Now()},
		"runs":    {started: true, running: true, ended: time.Now()},
	} {
		s.mu.Lock()
		s.containers["a"] = c
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		d.stopped = name == "stopped"
		if _, err := settled(ctx, e, d, a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	over, cancel := context.WithCancel(t.Context())
	d.stopped = false
	s.mu.Lock()
	s.containers["a"] = &words{started: true, ended: time.Now().Add(time.Hour)}
	s.mu.Unlock()
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := settled(over, e, d, a); err == nil {
		t.Error("it is said to have settled")
	}
}
