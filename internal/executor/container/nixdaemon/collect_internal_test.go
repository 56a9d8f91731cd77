package nixdaemon

import (
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

func TestDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	hour := Spec{Collect: Policy{Every: time.Hour}}
	for name, c := range map[string]struct {
		m    memory
		idle bool
		want bool
	}{
		"never by time":                  {m: memory{Unused: true}},
		"not for long":                   {m: memory{Spec: hour, Unused: true, Collected: ago(time.Hour)}, want: true},
		"lately":                         {m: memory{Spec: hour, Unused: true, Collected: ago(59 * time.Minute)}},
		"nothing to collect":             {m: memory{Spec: hour, Collected: ago(time.Hour)}},
		"it failed just now":             {m: memory{Spec: hour, Unused: true, Collected: ago(2 * time.Hour), Tried: ago(time.Minute)}},
		"it failed a while ago":          {m: memory{Spec: hour, Unused: true, Collected: ago(2 * time.Hour), Tried: ago(11 * time.Minute)}, want: true},
		"an idle daemon is spared":       {m: memory{Spec: hour, Unused: true, Collected: ago(2 * time.Hour), Tried: ago(11 * time.Minute)}, idle: true},
		"and started once in a while":    {m: memory{Spec: hour, Unused: true, Collected: ago(2 * time.Hour), Tried: ago(time.Hour)}, idle: true, want: true},
		"a clock that was set back":      {m: memory{Spec: hour, Unused: true, Collected: ago(-99 * time.Hour)}, want: true},
		"more often than it would retry": {m: memory{Spec: Spec{Collect: Policy{Every: time.Second}}, Unused: true, Collected: ago(time.Second), Tried: ago(time.Second)}, want: true},
	} {
		if got := c.m.due(now, c.idle); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestLeast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p    Policy
		want int64
	}{{Policy{}, 0}, {Policy{MinFree: 7}, 7}, {Policy{MinFreePercent: 10}, 100}, {Policy{MinFree: 7, MinFreePercent: 0.5}, 5}} {
		if got := c.p.Least(1000); got != c.want || c.p.WantsSpace() != (got > 0) {
			t.Errorf("%+v: %d", c.p, got)
		}
	}
}

// orders answers as a daemon does, and remembers what it was to collect.
type orders struct {
	mu     sync.Mutex
	got    []nixd.Collect
	stat   nixd.Stat
	free   int64
	paths  int // deleted each time
	info   nixd.Info
	fails  error
	within func()     // runs while it collects
	left   *nixd.Stat // it says after a collection
}

func (o *orders) answer(_, command string, args []string) (any, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch command {
	case nixd.CommandInfo:
		i := o.info
		i.Free, i.Total = o.free, 1000
		return i, nil
	case nixd.CommandStat:
		return o.stat, nil
	case nixd.CommandCollect:
		var c nixd.Collect
		if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
			return nil, err
		}
		o.got = append(o.got, c)
		if o.within != nil {
			o.within()
		}
		return nixd.Collected{Count: o.paths, Freed: int64(o.paths) << 20, Free: o.free, Kept: 1, Stat: o.left}, o.fails
	case nixd.CommandRelease:
		return len(args), nil
	case nixd.CommandList:
		return []nixd.Path{{Path: "/nix/store/x", Roots: args}}, nil
	default:
		return args, nil
	}
}

func (o *orders) all() []nixd.Collect {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]nixd.Collect{}, o.got...)
}

// age makes a store one that has not been collected for long. A collection whose daemon has done all may still have to say so.
func (k *Keeper) age(name string, by time.Duration) {
	k.mu.Lock()
	d := k.domain(name)
	k.mu.Unlock()
	d.collecting <- struct{}{}
	<-d.collecting
	k.mu.Lock()
	defer k.mu.Unlock()
	d.Collected, d.Tried, d.looked = d.Collected.Add(-by), d.Tried.Add(-by), d.looked.Add(-by)
}

// A store is collected when its time has come, with the jobs that are written down, and what it did is said in one line.
func TestCollectsOnSchedule(t *testing.T) {
	t.Parallel()
	var log lines
	o := &orders{paths: 3, free: 500, stat: nixd.Stat{Paths: 9, Bytes: 90, Recent: nixd.Share{Paths: 1, Bytes: 10}}}
	s := &script{answer: o.answer}
	k := s.keeper(t, Options{
		Log: slog.New(slog.NewTextHandler(&log, nil)), Tend: time.Hour,
		Live: func(d string) ([]string, error) { return []string{"job-of-" + d}, nil },
	})
	a := spec("a", Policy{KeepFor: time.Hour, MinFreePercent: 10, Every: time.Hour})
	done := k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	k.lookAround(time.Now())
	if got := o.all(); len(got) != 0 {
		t.Fatalf("a new store was collected: %+v", got)
	}
	before := time.Now()
	k.age("a", 2*time.Hour)
	k.lookAround(time.Now())
	s.did("gc a")
	s.did("stat a") // of the collection, or of a look at the space that was begun before it
	for len(o.all()) == 0 {
		time.Sleep(time.Millisecond)
	}
	want := []nixd.Collect{{KeepFor: time.Hour, MinFree: 100, Live: []string{"job-of-a"}}}
	if diff := cmp.Diff(want, o.all(), cmpopts.IgnoreFields(nixd.Collect{}, "AsOf")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if at := o.all()[0].AsOf; at.Before(before) || at.After(time.Now()) {
		t.Errorf("as of %s", at)
	}
	done()
	k.Over("a", "one")
	k.Over("a", "one")
	if _, err := k.Collect(t.Context(), "a", Order{DryRun: true}); err != nil {
		t.Error(err)
	}
	k.Stores(t.Context()) // which has nothing more to release
	if diff := cmp.Diff([]string{"release a"}, s.done("release")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	k.Close()
	if got := log.count("A Nix store was collected"); got != 1 || log.count("freed=\"3.0 MiB\" paths=3 kept=1 free=\"500 B\"") != 1 {
		t.Errorf("%s", log.String())
	}
}

// A daemon that is stopped while it is told which jobs are over is told again.
func TestTellsADaemonAgainWhichJobsAreOver(t *testing.T) {
	t.Parallel()
	told := [][]string{}
	s := &script{}
	o := &orders{}
	s.answer = func(container, command string, args []string) (any, error) {
		if command != nixd.CommandRelease {
			return o.answer(container, command, args)
		}
		if told = append(told, args); len(told) == 1 {
			return nil, errors.New("the container is stopped")
		}
		return len(args), nil
	}
	k := s.keeper(t, Options{Tend: time.Hour})
	a := spec("a", Policy{})
	k.Use(a)()
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	k.Over("a", "one")
	for range 3 {
		k.Stores(t.Context())
	}
	if diff := cmp.Diff([][]string{{"one"}, {"one"}}, told); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A command that comes while an idle daemon is being stopped waits for that, and starts it again.
func TestCommandWhileTheDaemonIsBeingStopped(t *testing.T) {
	t.Parallel()
	stopping, asked := make(chan struct{}), make(chan struct{}, 10)
	o := &orders{}
	s := &script{}
	s.answer = func(container, command string, args []string) (any, error) {
		switch command {
		case nixd.CommandList:
			return []nixd.Path{{Path: "/nix/store/x"}}, nil
		case nixd.CommandInfo:
			asked <- struct{}{}
		}
		return o.answer(container, command, args)
	}
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			close(stopping)
			select {
			case <-asked: // it must not be
			case <-time.After(200 * time.Millisecond):
			}
		})
	}
	k := s.keeper(t, Options{Tend: time.Hour})
	a := spec("a", Policy{})
	a.Idle = time.Millisecond
	done := k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	<-asked // of a new daemon
	done()
	<-stopping
	paths, err := k.Paths(t.Context(), "a")
	if err != nil || len(paths) != 1 {
		t.Errorf("paths %v, error %v", paths, err)
	}
}

// An idle daemon is started for a collection while the store has unused paths, and left alone afterwards.
func TestWakesAnIdleDaemonWhileThereIsSomethingToCollect(t *testing.T) {
	t.Parallel()
	o := &orders{free: 500, stat: nixd.Stat{Dead: nixd.Share{Paths: 1}}}
	s := &script{answer: o.answer}
	path := filepath.Join(t.TempDir(), "nix.json")
	k := s.keeper(t, Options{Tend: time.Hour, Path: path})
	a := spec("a", Policy{Every: time.Hour})
	a.Idle = time.Millisecond
	done := k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	done()
	s.did("stop a")
	k.age("a", 2*time.Hour)
	k.Close()

	k = s.keeper(t, Options{Tend: time.Hour, Path: path}) // another process
	k.Adopt("o", nil, nil)
	s.did("start a")
	s.did("gc a")
	s.did("stop a")
	k.lookAround(time.Now())
	o.mu.Lock()
	o.stat = nixd.Stat{}
	o.mu.Unlock()
	k.age("a", 2*time.Hour)
	k.lookAround(time.Now())
	s.did("gc a")
	s.did("stop a")
	for range 3 { // now there is nothing to collect
		k.age("a", 2*time.Hour)
		k.lookAround(time.Now())
	}
	k.Close()
	if diff := cmp.Diff([]string(nil), s.done("start", "gc")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := len(o.all()); got != 2 {
		t.Errorf("%d collections", got)
	}
}

// When a job has left too little space, its store is collected, and the others of the engine.
func TestCollectsBeforeTheDiskFills(t *testing.T) {
	t.Parallel()
	var log lines
	o := &orders{free: 1, info: nixd.Info{Sandbox: "on"}, paths: 1}
	s := &script{answer: o.answer} // without a mount: the daemon is asked
	k := s.keeper(t, Options{Tend: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil))})
	p := Policy{MinFree: 100, KeepFor: time.Hour}
	over := map[string]func(){}
	for _, name := range []string{"a", "b"} {
		over[name] = k.Use(spec(name, p))
		if _, err := k.Ensure(t.Context(), spec(name, p), "id"); err != nil {
			t.Fatal(err)
		}
	}
	defer over["b"]()
	over["a"]()
	s.did("gc a") // the end of the job has had it looked at
	for len(o.all()) < 2 {
		s.did("stat b")
	}
	k.Close()
	want := nixd.Collect{KeepFor: time.Hour, MinFree: 100}
	for _, got := range o.all() {
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(nixd.Collect{}, "AsOf"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if log.count("Less than min_free is free") == 0 {
		t.Errorf("%s", log.String())
	}
}

// What the disk budget lacks is collected once, in a store whose daemon runs rather than in one that sleeps.
func TestRelievesTheDiskBudget(t *testing.T) {
	t.Parallel()
	o := &orders{free: 500}
	s := &script{answer: o.answer}
	k := s.keeper(t, Options{Tend: time.Hour})
	asleep := spec("asleep", Policy{})
	asleep.Idle = time.Millisecond
	for _, a := range []Spec{asleep, spec("a", Policy{KeepFor: time.Hour})} {
		done := k.Use(a)
		if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
			t.Fatal(err)
		}
		done()
	}
	s.did("stop asleep")
	k.Relieve(70)
	s.did("gc a")
	k.mu.Lock()
	k.domains["asleep"].Tried = time.Now()
	k.mu.Unlock()
	k.Relieve(70)
	k.Close()
	want := []nixd.Collect{{KeepFor: time.Hour, MinFree: 570}}
	if diff := cmp.Diff(want, o.all(), cmpopts.IgnoreFields(nixd.Collect{}, "AsOf"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// One collection of a store at a time; a daemon is not stopped while it collects, and a second order waits.
func TestOneCollectionAtATime(t *testing.T) {
	t.Parallel()
	at, most := 0, 0
	o := &orders{paths: 1}
	o.within = func() { // the lock of o is held: it runs side by side only if collections do
		at++
		most = max(most, at)
		at--
	}
	s := &script{answer: o.answer}
	k := s.keeper(t, Options{Tend: time.Hour})
	a := spec("a", Policy{Every: time.Hour})
	a.Idle = time.Millisecond
	done := k.Use(a)
	if _, err := k.Ensure(t.Context(), a, "id"); err != nil {
		t.Fatal(err)
	}
	done()
	var all sync.WaitGroup
	hour := time.Hour
	for range 4 {
		all.Go(func() {
			if _, err := k.Collect(t.Context(), "a", Order{KeepFor: &hour, MaxFreed: 5, DryRun: true}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := o.all(); len(got) != 4 || got[0].KeepFor != hour || got[0].MaxFreed != 5 || !got[0].DryRun || most != 1 {
		t.Errorf("%+v, %d at a time", got, most)
	}
	if _, err := k.Collect(t.Context(), "none", Order{}); !errors.Is(err, ErrNoStore) {
		t.Error(err)
	}
}
