package poll

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// coordinator plays GitLab for one runner: Workhorse, which holds a request that carries the
// current last_update until that changes or 50 s are over, and Rails behind it.
type coordinator struct {
	mu      sync.Mutex
	version int
	jobs    []string
	changed chan struct{}
	short   bool // no long polling

	asked  []time.Duration // since start
	with   []string        // last_update of each request
	given  int             // requests whose context ended
	start  time.Time
	script []func() (Answer, error) // answers before the queue is asked
}

func newCoordinator() *coordinator {
	return &coordinator{version: 1, changed: make(chan struct{}), start: time.Now()}
}

func (c *coordinator) add(jobs ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs = append(c.jobs, jobs...)
	c.version++
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *coordinator) request(ctx context.Context, last string) (Answer, error) {
	c.mu.Lock()
	c.asked = append(c.asked, time.Since(c.start))
	c.with = append(c.with, last)
	if len(c.script) > 0 {
		next := c.script[0]
		c.script = c.script[1:]
		c.mu.Unlock()
		return next()
	}
	current := last == fmt.Sprint(c.version)
	changed := c.changed
	c.mu.Unlock()
	switch {
	case current && c.short:
		return Answer{Status: http.StatusNoContent, LastUpdate: last}, nil
	case current: // Workhorse
		select {
		case <-changed:
		case <-time.After(50 * time.Second):
		case <-ctx.Done():
			c.mu.Lock()
			c.given++
			c.mu.Unlock()
			return Answer{}, context.Cause(ctx)
		}
		return Answer{Status: http.StatusNoContent}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.jobs) > 0 {
		job := c.jobs[0]
		c.jobs = c.jobs[1:]
		return Answer{Status: http.StatusCreated, Payload: []byte(job)}, nil
	}
	return Answer{Status: http.StatusNoContent, LastUpdate: fmt.Sprint(c.version)}, nil
}

func (c *coordinator) seen() (asked []time.Duration, with []string, given int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.asked...), append([]string(nil), c.with...), c.given
}

// picked is what a bench saw of a job.
type picked struct {
	Runner, Job string
	ID          int
	At          time.Duration
}

// bench runs a poller whose jobs last until they are ended.
type bench struct {
	*Poller
	start  time.Time
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	picked []picked
	ends   map[string]chan struct{}
	auto   time.Duration // jobs end by themselves after so long
}

func startBench(t *testing.T, opts Options, s Settings) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &bench{start: time.Now(), cancel: cancel, done: make(chan struct{}), ends: map[string]chan struct{}{}}
	opts.Handle = b.handle
	opts.Jitter = func() float64 { return 1 }
	b.Poller = New(opts)
	b.Set(s)
	go func() {
		defer close(b.done)
		b.Run(ctx)
	}()
	return b
}

func (b *bench) handle(ctx context.Context, runner string, payload []byte, slot *Slot) {
	end := make(chan struct{})
	b.mu.Lock()
	b.picked = append(b.picked, picked{runner, string(payload), slot.ID(), time.Since(b.start)})
	b.ends[string(payload)] = end
	auto := b.auto
	b.mu.Unlock()
	if auto > 0 {
		time.Sleep(auto)
		return
	}
	select {
	case <-end:
	case <-ctx.Done():
	}
}

func (b *bench) end(job string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.ends[job])
}

func (b *bench) got() []picked {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]picked(nil), b.picked...)
}

func (b *bench) stop() {
	b.cancel()
	<-b.done
}

func want(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

const sec = time.Second

func one(c *coordinator, limit int) []Runner {
	return []Runner{{Key: "a", Limit: limit, Request: c.request}}
}

func TestHeldRequestPicksUpAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		b := startBench(t, Options{}, Settings{Concurrent: 4, Runners: one(c, 0)})
		time.Sleep(20 * sec)
		c.add("1", "2")
		synctest.Wait()
		want(t, []picked{{"a", "1", 0, 20 * sec}, {"a", "2", 1, 20 * sec}}, b.got())
		b.end("1")
		synctest.Wait()
		c.add("3")
		synctest.Wait()
		want(t, picked{"a", "3", 0, 20 * sec}, b.got()[2])
		time.Sleep(130 * sec)
		asked, _, given := c.seen()
		// after the jobs one answer without, then held ones of 50 s
		if len(asked) > 12 || given != 0 {
			t.Errorf("asked at %v, %d given up", asked, given)
		}
		b.stop()
	})
}

func TestJobThatAppearsSoonAfterTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		b := startBench(t, Options{}, Settings{Concurrent: 4, Runners: one(c, 0)})
		b.auto = sec / 20
		for n := range 100 {
			time.Sleep(sec / 10)
			c.add(fmt.Sprint(n))
			synctest.Wait()
			want(t, picked{"a", fmt.Sprint(n), 0, time.Since(b.start)}, b.got()[n])
		}
		b.stop()
	})
}

func TestBusyQueueDoesNotMakeABusyLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		b := startBench(t, Options{}, Settings{Concurrent: 4, Runners: one(c, 0)})
		for range 600 { // something new ten times a second, nothing of it for us
			time.Sleep(sec / 10)
			c.add()
		}
		if asked, _, _ := c.seen(); len(asked) < 20 || len(asked) > 60 {
			t.Errorf("asked %d times in a minute", len(asked))
		}
		b.stop()
	})
}

func TestSlotThatFreesAsksAtOnce(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]Settings{"concurrent": {Concurrent: 1}, "limit": {Concurrent: 9}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCoordinator()
				s.Runners = one(c, 1)
				b := startBench(t, Options{}, s)
				c.add("1", "2")
				time.Sleep(1500 * time.Millisecond)
				want(t, 1, len(b.got()))
				b.end("1")
				synctest.Wait()
				want(t, picked{"a", "2", 0, 1500 * time.Millisecond}, b.got()[1])
				b.stop()
			})
		})
	}
}

func TestWithoutLongPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		c.short = true
		b := startBench(t, Options{}, Settings{Concurrent: 4, CheckInterval: 2 * sec, Runners: one(c, 0)})
		time.Sleep(7 * sec)
		asked, with, _ := c.seen()
		want(t, []time.Duration{0, 0, 2 * sec, 4 * sec, 6 * sec}, asked)
		want(t, []string{"", "1", "1", "1", "1"}, with)
		c.add("1", "2")
		time.Sleep(1500 * time.Millisecond)
		want(t, []picked{{"a", "1", 0, 8 * sec}, {"a", "2", 1, 8 * sec}}, b.got())
		b.end("1") // asks at once although the next time would be in half a second
		synctest.Wait()
		asked, _, _ = c.seen()
		want(t, 8500*time.Millisecond, asked[len(asked)-1])
		b.stop()
	})
}

func TestLastSlotGoesRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c1, c2 := newCoordinator(), newCoordinator()
		b := startBench(t, Options{}, Settings{Concurrent: 1, Runners: []Runner{
			{Key: "a", Request: c1.request}, {Key: "b", Request: c2.request}}})
		time.Sleep(10 * sec)
		for _, c := range []*coordinator{c1, c2} {
			asked, with, given := c.seen()
			want(t, []time.Duration{0, 3 * sec, 6 * sec, 9 * sec}, asked)
			want(t, []string{"", "", "", ""}, with)
			want(t, 0, given)
		}
		c2.add("1")
		time.Sleep(3 * sec)
		want(t, []picked{{"b", "1", 0, 12 * sec}}, b.got())
		b.stop()
	})
}

func TestHeldRequestMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c1, c2 := newCoordinator(), newCoordinator()
		b := startBench(t, Options{}, Settings{Concurrent: 2, Runners: []Runner{
			{Key: "a", Request: c1.request}, {Key: "b", Request: c2.request}}})
		time.Sleep(10 * sec)
		c2.add("1", "2") // b has one slot, a's held request the other
		time.Sleep(1100 * time.Millisecond)
		want(t, []picked{{"b", "1", 0, 10 * sec}, {"b", "2", 1, 11 * sec}}, b.got())
		if _, _, given := c1.seen(); given != 1 {
			t.Errorf("%d requests of a given up", given)
		}
		b.end("1")
		time.Sleep(10 * sec)
		for _, c := range []*coordinator{c1, c2} {
			if asked, _, _ := c.seen(); asked[len(asked)-1] < 18*sec {
				t.Errorf("asked at %v only", asked)
			}
		}
		if _, _, given := c1.seen(); given != 1 {
			t.Errorf("%d requests of a given up in the end", given)
		}
		b.stop()
	})
}

func TestSlotsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runners []Runner
		for i := range 5 {
			c := newCoordinator()
			for n := range 400 {
				c.jobs = append(c.jobs, fmt.Sprintf("%d/%d", i, n))
			}
			runners = append(runners, Runner{Key: fmt.Sprint(i), Request: c.request, RequestConcurrency: 1 + i})
		}
		b := startBench(t, Options{}, Settings{Concurrent: 3})
		b.auto = 100 * time.Millisecond
		b.Set(Settings{Concurrent: 3, Runners: runners})
		time.Sleep(10*sec - 1)
		count := map[string]int{}
		for _, p := range b.got() {
			count[p.Runner]++
		}
		for _, r := range runners {
			if n := count[r.Key]; n < 50 || n > 70 {
				t.Errorf("runner %s got %d of %d jobs", r.Key, n, len(b.got()))
			}
		}
		b.stop()
	})
}

func TestRequestConcurrencyGrowsWithJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		left, open, most := 20, 0, 0
		slow := func(context.Context, string) (Answer, error) {
			mu.Lock()
			open++
			most = max(most, open)
			mu.Unlock()
			time.Sleep(sec)
			mu.Lock()
			defer mu.Unlock()
			open--
			if left == 0 {
				return Answer{Status: http.StatusNoContent}, nil
			}
			left--
			return Answer{Status: http.StatusCreated, Payload: []byte(fmt.Sprint(left))}, nil
		}
		b := startBench(t, Options{}, Settings{Concurrent: 50, Runners: []Runner{{Key: "a", RequestConcurrency: 3, Request: slow}}})
		time.Sleep(1500 * time.Millisecond)
		mu.Lock()
		want(t, 2, open)
		mu.Unlock()
		time.Sleep(20 * sec)
		mu.Lock()
		want(t, 3, most)
		want(t, 1, open)
		mu.Unlock()
		want(t, 20, len(b.got()))
		b.stop()
	})
}

func TestErrorsBackOff(t *testing.T) {
	t.Parallel()
	boom := func() (Answer, error) { return Answer{}, errors.New("connection refused") }
	status := func(code int, after time.Duration) func() (Answer, error) {
		return func() (Answer, error) { return Answer{Status: code, RetryAfter: after}, nil }
	}
	both := func(code int) func() (Answer, error) {
		return func() (Answer, error) { return Answer{Status: code}, errors.New(http.StatusText(code)) }
	}
	for name, tc := range map[string]struct {
		script []func() (Answer, error)
		want   []time.Duration
	}{
		"doubles to a minute": {
			script: []func() (Answer, error){boom, boom, boom, boom, boom, boom, boom, boom, boom},
			want:   []time.Duration{0, 1 * sec, 3 * sec, 7 * sec, 15 * sec, 31 * sec, 63 * sec, 123 * sec, 183 * sec},
		},
		"status": {
			script: []func() (Answer, error){status(500, 0), status(502, 0), status(429, 0)},
			want:   []time.Duration{0, 1 * sec, 3 * sec, 7 * sec},
		},
		"retry after": {
			script: []func() (Answer, error){status(429, 30*sec), status(503, sec/2)},
			want:   []time.Duration{0, 30 * sec, 32 * sec},
		},
		"endless retry after": {
			script: []func() (Answer, error){status(503, 1000*time.Hour)},
			want:   []time.Duration{0, time.Hour},
		},
		"conflict": {
			script: []func() (Answer, error){status(409, 0), status(409, 0)},
			want:   []time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond},
		},
		"job without payload": {
			script: []func() (Answer, error){status(201, 0)},
			want:   []time.Duration{0, sec},
		},
		"refused": {
			script: []func() (Answer, error){status(403, 0), status(403, 0), status(403, 0)},
			want:   []time.Duration{0, 3 * sec, 6 * sec, 6*sec + time.Hour},
		},
		"refused with an error beside it": {
			script: []func() (Answer, error){both(403), both(403), both(403)},
			want:   []time.Duration{0, 3 * sec, 6 * sec, 6*sec + time.Hour},
		},
		"refused with a break": {
			script: []func() (Answer, error){status(403, 0), status(403, 0), status(500, 0), status(403, 0), status(403, 0)},
			want:   []time.Duration{0, 3 * sec, 6 * sec, 7 * sec, 10 * sec, 13 * sec},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCoordinator()
				c.script = tc.script
				b := startBench(t, Options{}, Settings{Concurrent: 4, Runners: one(c, 0)})
				time.Sleep(2 * time.Hour)
				asked, _, _ := c.seen()
				if len(asked) < len(tc.want) {
					t.Fatalf("asked at %v, want %v", asked, tc.want)
				}
				want(t, tc.want, asked[:len(tc.want)])
				b.stop()
			})
		})
	}
}

func TestReloadEndsRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		no := func() (Answer, error) { return Answer{Status: http.StatusForbidden}, nil }
		c.script = []func() (Answer, error){no}
		conf := Runner{Key: "a", UnhealthyLimit: 1, UnhealthyInterval: 2 * time.Hour, Request: c.request}
		b := startBench(t, Options{}, Settings{Concurrent: 4, Runners: []Runner{conf}})
		time.Sleep(time.Minute)
		b.Set(Settings{Concurrent: 4, Runners: []Runner{conf}})
		synctest.Wait()
		asked, _, _ := c.seen()
		want(t, []time.Duration{0, time.Minute, time.Minute}, asked)
		b.stop()
	})
}
