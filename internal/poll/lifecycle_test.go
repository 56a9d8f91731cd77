package poll

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// after answers with a job after d, whether its context has ended or not.
func after(d time.Duration, job string) func(context.Context, string) (Answer, error) {
	return func(context.Context, string) (Answer, error) {
		time.Sleep(d)
		return Answer{Status: http.StatusCreated, Payload: []byte(job)}, nil
	}
}

func TestJobThatArrivesWhileStoppingIsHandled(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*bench){
		"drain":          func(b *bench) { b.Drain() },
		"context":        func(b *bench) { b.cancel() },
		"runner removed": func(b *bench) { b.Set(Settings{Concurrent: 3}) },
	} {
		for _, late := range []time.Duration{3 * sec, 20 * sec} { // before and after the request is given up
			t.Run(fmt.Sprint(name, late), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := startBench(t, Options{}, Settings{Concurrent: 3, Runners: []Runner{{Key: "a", Limit: 1, Request: after(late, "1")}}})
					b.auto = 10 * sec
					time.Sleep(sec)
					stop(b)
					if name == "runner removed" {
						time.Sleep(late)
						b.Drain()
					}
					<-b.done
					want(t, []picked{{"a", "1", 0, late}}, b.got())
					want(t, late+10*sec, time.Since(b.start)) // Run has waited for the job
				})
			})
		}
	}
}

func TestDrainGivesHeldRequestsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		b := startBench(t, Options{}, Settings{Concurrent: 3, Runners: one(c, 0)})
		time.Sleep(200 * time.Millisecond)
		b.Drain()
		<-b.done
		want(t, sec, time.Since(b.start)) // one that is younger than a second may be being answered
		asked, _, given := c.seen()
		want(t, []time.Duration{0, 0}, asked)
		want(t, 1, given)
	})
}

func TestNothingIsAskedAfterTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		p := New(Options{})
		p.Set(Settings{Concurrent: 3, Runners: one(c, 0)})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.Run(ctx)
		asked, _, _ := c.seen()
		want(t, 0, len(asked))
	})
}

func TestDrainLetsJobsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		b := startBench(t, Options{}, Settings{Concurrent: 3, Runners: one(c, 0)})
		c.add("1")
		time.Sleep(5 * sec)
		b.Drain()
		synctest.Wait() // the held request has been given up
		c.add("2")
		time.Sleep(time.Hour)
		want(t, 1, len(b.got()))
		select {
		case <-b.done:
			t.Error("Run returned before the job's end")
		default:
		}
		b.end("1")
		<-b.done
		b.stop()
	})
}

func TestRemovedRunnerKeepsItsJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c1, c2 := newCoordinator(), newCoordinator()
		a, other := Runner{Key: "a", Limit: 1, Request: c1.request}, Runner{Key: "b", Request: c2.request}
		b := startBench(t, Options{}, Settings{Concurrent: 2, Runners: []Runner{a}})
		c1.add("1")
		time.Sleep(sec)
		b.Set(Settings{Concurrent: 2, Runners: []Runner{other}})
		c1.add("2")
		time.Sleep(10 * sec)
		want(t, Stats{Concurrent: 2, Jobs: 1, Requests: 1, Runners: []RunnerStats{
			{Key: "a", Limit: 1, RequestConcurrency: 1, Jobs: 1, Leaving: true},
			{Key: "b", RequestConcurrency: 1, Requests: 1},
		}}, b.Stats())
		b.Set(Settings{Concurrent: 3, Runners: []Runner{other, a}}) // back: its job still counts
		time.Sleep(10 * sec)
		want(t, 1, len(b.got()))
		b.end("1")
		synctest.Wait()
		want(t, picked{"a", "2", 0, 21 * sec}, b.got()[1])
		b.Set(Settings{Concurrent: 3, Runners: []Runner{other}})
		b.end("2")
		synctest.Wait()
		want(t, 1, len(b.Stats().Runners))
		b.stop()
	})
}

func TestFewerSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runners []Runner
		for i := range 4 {
			runners = append(runners, Runner{Key: fmt.Sprint(i), Request: newCoordinator().request})
		}
		b := startBench(t, Options{}, Settings{Concurrent: 8, Runners: runners})
		time.Sleep(10 * sec)
		want(t, 4, b.Stats().Requests)
		b.Set(Settings{Concurrent: 2, Runners: runners})
		time.Sleep(sec)
		if n := b.Stats().Requests; n > 2 {
			t.Errorf("%d requests open with two slots", n)
		}
		b.stop()
	})
}

func TestAdoptedJobsHoldSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		c.jobs = []string{"1", "2"}
		b := startBench(t, Options{}, Settings{Concurrent: 2})
		s1, s2, gone := b.Adopt("a", 0), b.Adopt("a", 2), b.Adopt("gone", 5)
		want(t, []int{0, 2, 5}, []int{s1.ID(), s2.ID(), gone.ID()})
		b.Set(Settings{Concurrent: 2, Runners: one(c, 0)})
		time.Sleep(time.Minute)
		want(t, 0, len(b.got()))
		gone.Release()
		gone.Release()
		s1.Release()
		time.Sleep(sec)
		want(t, []picked{{"a", "1", 0, time.Minute}}, b.got())
		s2.Release()
		time.Sleep(sec)
		want(t, picked{"a", "2", 1, time.Minute + sec}, b.got()[1])
		b.stop()
	})
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	var n Numbers
	n.Reserve("p", 1)
	want(t, []int{0, 2, 3}, []int{n.Take("p"), n.Take("p"), n.Take("p")})
	want(t, 0, n.Take("q"))
	n.Free("p", 2)
	n.Free("p", 9)
	want(t, 2, n.Take("p"))
	n.Reserve("p", 0) // twice
	n.Free("p", 0)
	want(t, 4, n.Take("p"))
	n.Free("p", 0)
	want(t, 0, n.Take("p"))
	for i := range 5 {
		n.Free("p", i)
	}
	n.Free("q", 0)
	want(t, 0, len(n.used))
}

func TestLoadDelaysAsking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator()
		b := startBench(t, Options{Load: func() float64 { return 0.75 }}, Settings{Concurrent: 2, Runners: one(c, 0)})
		c.add("1", "2")
		time.Sleep(sec)
		want(t, []picked{{"a", "1", 0, 0}, {"a", "2", 1, 150 * time.Millisecond}}, b.got())
		b.end("1")
		b.Drain() // during the delay: nothing is sent
		b.end("2")
		<-b.done
		want(t, sec, time.Since(b.start).Truncate(sec))
		asked, _, _ := c.seen()
		want(t, 2, len(asked))
		b.stop()
	})
}

func TestThousandRunners(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var all []*coordinator
		s := Settings{Concurrent: 10}
		for i := range 1000 {
			c := newCoordinator()
			all = append(all, c)
			s.Runners = append(s.Runners, Runner{Key: fmt.Sprint(i), Request: c.request})
		}
		before := runtime.NumGoroutine()
		b := startBench(t, Options{}, s)
		time.Sleep(7 * sec)
		if n := runtime.NumGoroutine() - before; n > 100 {
			t.Errorf("%d goroutines more for 10 slots", n)
		}
		held := 0
		for i, c := range all {
			asked, with, _ := c.seen()
			if with[len(with)-1] != "" {
				held++
			} else if len(asked) < 3 {
				t.Errorf("runner %d asked at %v only", i, asked)
			}
		}
		want(t, 9, held)
		all[999].add("1")
		time.Sleep(3 * sec)
		want(t, 1, len(b.got()))
		b.stop()
	})
}
