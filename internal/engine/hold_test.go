package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// failing is a script whose job fails, and what its agents were handed.
func failing(leases *sync.Map) fake.Script {
	return fake.Script{
		Stages: map[string]fake.Action{scriptID: fake.Exit("", 3)},
		Intercept: func(_ executor.Place, _ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v1/job" {
				b, _ := io.ReadAll(r.Body) // a short one
				leases.Store(time.Now(), string(b))
			}
			return false
		},
	}
}

// TestHold keeps the environment of a failed job for its time and not longer, with leases that outlast it.
func TestHold(t *testing.T) {
	t.Parallel()
	var leases sync.Map
	bubble(t, one(failing(&leases)), func(b *bench) {
		b.runner.KeepFailed = 5 * time.Hour // longer than a lease
		a, c := b.job(minimal())
		var held atomic.Int64
		began := time.Now()
		a.Held = func() {
			held.Add(1)
			if c.finals() != 1 {
				t.Error("the slot is given back before the result is delivered")
			}
		}
		go func() {
			time.Sleep(4 * time.Hour)
			if jobs := b.engine.Jobs(); len(b.machine.Refs()) != 1 || len(jobs) != 1 || jobs[0].Kept.IsZero() || jobs[0].Result == nil {
				t.Errorf("after four hours: %v, %+v", b.machine.Refs(), jobs)
			}
		}()
		if err := b.engine.Run(b.t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 5*time.Hour || took > 5*time.Hour+time.Minute || held.Load() != 1 {
			t.Errorf("it was kept for %v, Held was called %d times", took, held.Load())
		}
		b.engine.Wait(b.t.Context())
		if refs := b.machine.Refs(); len(refs) != 0 {
			t.Errorf("left: %v", refs)
		}
		long := 0
		leases.Range(func(_, body any) bool {
			var lease int64
			_, after, _ := strings.Cut(body.(string), `"lease":`)
			if _, err := fmt.Sscan(strings.TrimRight(after, "}"), &lease); err == nil && time.Duration(lease) > 4*time.Hour {
				long++
			}
			return true
		})
		if long == 0 {
			t.Error("no lease outlasts the time without a runner")
		}
		if !strings.Contains(c.text(), "kept for 5h0m0s (keep_failed)") {
			t.Errorf("log:\n%s", c.text())
		}
	})
}

// Only what failed by itself is kept.
func TestWhatIsNotHeld(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b *bench, s *fake.Script, c *coordinator){
		"a success": func(*bench, *fake.Script, *coordinator) {},
		"a cancelled job": func(_ *bench, s *fake.Script, c *coordinator) {
			s.Stages = map[string]fake.Action{scriptID: fake.Hold(nil, nil, fake.Exit("", 1))}
			c.update = func(u gitlab.Update) (gitlab.UpdateResult, error) {
				return gitlab.UpdateResult{Accepted: true, Status: map[bool]string{true: gitlab.StatusCanceled}[u.State == "running"]}, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s fake.Script
			bubble(t, func(*job.Job) fake.Script { return s }, func(b *bench) {
				b.runner.KeepFailed = time.Hour
				a, c := b.job(minimal())
				change(b, &s, c)
				a.Held = func() { t.Error("it is kept") }
				began := time.Now()
				if err := b.engine.Run(b.t.Context(), a); err != nil || time.Since(began) > 10*time.Minute {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
}

// A kept environment is released by a user, left to the next process, and gone on with by that.
func TestHoldOverARestart(t *testing.T) {
	t.Parallel()
	var leases sync.Map
	bubble(t, one(failing(&leases)), func(b *bench) {
		b.runner.KeepFailed = 3 * time.Hour
		a, c := b.job(minimal())
		began := time.Now()
		time.AfterFunc(time.Hour, func() { b.engine.LeaveHeld() })
		if err := b.engine.Run(b.t.Context(), a); !errors.Is(err, engine.ErrDetach) {
			t.Fatalf("Run: %v", err)
		}
		if n := len(b.machine.Refs()); n != 1 || c.finals() != 1 {
			t.Errorf("%d environments, %d final updates", n, c.finals())
		}
		b.restart()
		if took := time.Since(began); took < 3*time.Hour || took > 3*time.Hour+time.Minute {
			t.Errorf("it was kept for %v", took)
		}
		if c.finals() != 1 {
			t.Errorf("the result was delivered %d times", c.finals())
		}
	})
	bubble(t, one(failing(&leases)), func(b *bench) {
		b.runner.KeepFailed = 3 * time.Hour
		a, _ := b.job(minimal())
		began := time.Now()
		time.AfterFunc(time.Hour, func() {
			if err := b.engine.Release("77"); !errors.Is(err, engine.ErrNoJob) {
				t.Errorf("another job: %v", err)
			}
			if err := b.engine.Release(fmt.Sprint(a.Job.ID)); err != nil {
				t.Error(err)
			}
		})
		if err := b.engine.Run(b.t.Context(), a); err != nil || time.Since(began) > time.Hour+time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// Environments that are kept are bounded.
func TestHeldAreBounded(t *testing.T) {
	t.Parallel()
	var leases sync.Map
	bubble(t, one(failing(&leases)), func(b *bench) {
		var group sync.WaitGroup
		for i := range 25 {
			b.runner.KeepFailed = 2*time.Hour + time.Duration(i)*time.Minute
			a, _ := b.job(minimal())
			group.Go(func() {
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Hour)
		if n := len(b.engine.Jobs()); n != 20 {
			t.Errorf("%d are kept", n)
		}
		group.Wait()
	})
}

// TestTerminalsOfBadAgents asks agents for terminals that have none, or lie.
func TestTerminalsOfBadAgents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hello  int
		answer func(w http.ResponseWriter)
		check  func(err error) bool
	}{
		"an older one":    {hello: wire.TerminalsSince - 1, check: func(err error) bool { return errors.Is(err, client.ErrNoTerminals) }},
		"one that has no": {check: func(err error) bool { return err != nil }},
		"one that talks much": {answer: func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"message":"` + strings.Repeat(`x\n`, 1<<20) + `"}`))
		}, check: func(err error) bool {
			return err != nil && len(err.Error()) < 8<<10 && !strings.Contains(err.Error(), "\n")
		}},
		"one with a huge message": {answer: func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusOK)
			_, _ = w.Write([]byte("o\xff\xff\xff\xff"))
		}, check: func(err error) bool { return errors.Is(err, terminal.ErrTooLarge) }},
		"one that floods": {answer: func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusOK)
			for {
				if _, err := w.Write([]byte("o\x00\x00\x10\x00" + strings.Repeat("x", 4<<10))); err != nil {
					return
				}
			}
		}, check: func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun, release := make(chan struct{}, 1), make(chan struct{})
			script := fake.Script{
				Stages: map[string]fake.Action{scriptID: fake.Hold(begun, release, fake.Claim(stage.Result{}))},
				Hello: func(_ executor.Place, h *wire.Hello) {
					if c.hello != 0 {
						h.Protocol = c.hello
					}
				},
				Intercept: func(_ executor.Place, w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/v1/terminals" || c.answer == nil {
						return false
					}
					c.answer(w)
					return true
				},
			}
			onBench(t, one(script), func(b *bench) {
				a, _ := b.job(minimal())
				done := make(chan error, 1)
				go func() { done <- b.engine.Run(b.t.Context(), a) }()
				<-begun
				ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
				defer cancel()
				term, err := b.engine.Terminal(ctx, fmt.Sprint(a.Job.ID), engine.TerminalOptions{TTY: true})
				if err == nil {
					_, _, err = term.Receive()
					defer term.Close()
				}
				if !c.check(err) {
					t.Errorf("%.1000v", err)
				}
				close(release)
				if err := <-done; err != nil {
					t.Errorf("the job beside the terminal: %v", err)
				}
				if term != nil {
					for err == nil {
						_, _, err = term.Receive()
					}
				}
			})
		})
	}
}
