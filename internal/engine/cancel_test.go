package engine_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// A graceful cancellation ends what runs before and in the script, and lets after_script, caches and
// artifacts of the script do their work; one at once ends everything but cleaning up.
func TestCancel(t *testing.T) {
	t.Parallel()
	cancellations(t, tryCancel)
}

// cancellations tries both kinds of cancellation in every stage: ran are the stages that run then, reason is the job's.
func cancellations(t *testing.T, try func(t *testing.T, at, status, reason string, ran []string)) {
	t.Helper()
	cleanup := "cleanup_file_variables"
	for i, at := range stages()[:7] {
		before := stages()[: i+1 : i+1]
		graceful, reason := append(before, cleanup), "job_canceled"
		switch at {
		case scriptID:
			graceful = append(before, "after_script", "archive_cache_on_failure", "upload_artifacts_on_failure", cleanup)
		case "after_script", "archive_cache", uploadsID:
			graceful, reason = stages(), "" // the script is over: nothing is left to be ended gracefully
		}
		if at == "archive_cache" {
			before = append(before, uploadsID) // side by side
		}
		t.Run("gracefully in "+at, func(t *testing.T) {
			t.Parallel()
			try(t, at, gitlab.StatusCanceling, reason, graceful)
		})
		t.Run("at once in "+at, func(t *testing.T) {
			t.Parallel()
			try(t, at, gitlab.StatusCanceled, "job_canceled", append(before, cleanup))
		})
	}
}

func tryCancel(t *testing.T, at, status, reason string, ran []string) {
	t.Helper()
	r := &recorder{}
	bubble(t, func(*job.Job) fake.Script {
		release := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(release) }) // what is not cancelled goes on
		return r.script(at, fake.Hold(nil, release, fake.Claim(stage.Result{})))
	}, func(b *bench) {
		began := time.Now()
		c := runWhole(b, func(c *coordinator) {
			c.update = func(u gitlab.Update) (gitlab.UpdateResult, error) {
				res := gitlab.UpdateResult{Accepted: true}
				if u.State == "running" && slices.Contains(r.stages(), at) {
					res.Status = status
				}
				return res, nil
			}
		})
		state := "failed"
		if reason == "" {
			state = "success"
		} else if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v to cancel", took)
		}
		r.expect(t, c, state, reason, 0, ran...)
	})
}

// Both kinds of cancellation end an environment that is being prepared.
func TestCancelWhilePreparing(t *testing.T) {
	t.Parallel()
	for _, status := range []string{gitlab.StatusCanceling, gitlab.StatusCanceled} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(fake.Script{Prepare: func(ctx context.Context, _ io.Writer) error {
				<-ctx.Done()
				return context.Cause(ctx)
			}}), func(b *bench) {
				a, c := b.job(minimal())
				c.update = func(gitlab.Update) (gitlab.UpdateResult, error) {
					return gitlab.UpdateResult{Accepted: true, Status: map[bool]string{true: status}[len(c.updates) > 1]}, nil
				}
				began := time.Now()
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("it took %v to cancel", took)
				}
				if got := c.final(t); got.FailureReason != "job_canceled" {
					t.Errorf("ended %+v", got)
				}
			})
		})
	}
}

// The job's timeout ends any stage, and nothing is run after it.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	for i, at := range stages()[:7] {
		ran := stages()[: i+1 : i+1]
		if at == "archive_cache" {
			ran = append(ran, uploadsID) // side by side
		}
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			bubble(t, one(r.script(at, fake.Hold(nil, nil, nil))), func(b *bench) {
				spec := whole()
				spec.Variables = []jobpayload.Variable{{Key: "RUNNER_AFTER_SCRIPT_TIMEOUT", Value: "2h"}}
				a, c := b.job(spec)
				withDownload(c)
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatal(err)
				}
				r.expect(t, c, "failed", "job_execution_timeout", 0, append(ran, "cleanup_file_variables")...)
				inOrder(t, c.text(), []string{"ERROR: Job failed: execution took longer than 1h0m0s seconds"})
			})
		})
	}
}

// A runner that stops just as it has a stage started hears of it, ends it, and shows what it has said.
func TestShutdownWhileAStageIsStarted(t *testing.T) {
	t.Parallel()
	var leave context.CancelCauseFunc
	script := fake.Script{
		Stages: map[string]fake.Action{scriptID: func(s *fake.Stage) stage.Result {
			s.Write(spool.Stdout, "said at once\n")
			<-s.Ended()
			return s.Early()
		}},
		Started: func(id string) {
			if id == scriptID {
				leave(engine.ErrShutdown)
				time.Sleep(time.Second) // in a bubble
			}
		},
	}
	bubble(t, one(script), func(b *bench) {
		a, c := b.job(whole())
		withDownload(c)
		ctx, stop := context.WithCancelCause(b.t.Context())
		leave = stop
		if err := b.engine.Run(ctx, a); err != nil {
			t.Fatal(err)
		}
		if got := c.final(t); got.FailureReason != "runner_interrupted" || !strings.Contains(c.text(), "said at once") {
			t.Errorf("ended %+v with the log\n%s", got, c.text())
		}
	})
}

// A runner that stops and whose jobs end with it reports them within the time that it has.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for _, at := range stages()[:7] {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			bubble(t, one(r.script(at, fake.Hold(nil, nil, nil))), func(b *bench) {
				a, c := b.job(whole())
				withDownload(c)
				ctx, cancel := context.WithCancelCause(b.t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(engine.ErrShutdown) })
				began := time.Now()
				if err := b.engine.Run(ctx, a); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 40*time.Second {
					t.Errorf("it took %v to stop", took)
				}
				if got := c.final(t); got.FailureReason != "runner_interrupted" {
					t.Errorf("ended %+v", got)
				}
				b.engine.Wait(b.t.Context())
				if refs := b.machine.Refs(); len(refs) > 0 {
					t.Errorf("left behind: %v", refs)
				}
			})
		})
	}
}

// An agent that does not end its stage, or its log, cannot keep a runner that stops from reporting the job.
func TestShutdownOfStubbornAgents(t *testing.T) {
	t.Parallel()
	stubborn := func(*fake.Stage) stage.Result {
		time.Sleep(3 * time.Hour) // in a bubble
		return stage.Result{}
	}
	for name, s := range map[string]fake.Script{
		"its script":    {Stages: map[string]fake.Action{scriptID: stubborn}},
		"its cleaning":  {Stages: map[string]fake.Action{scriptID: fake.Hold(nil, nil, nil), "cleanup_file_variables": stubborn}},
		"its last word": {Stages: map[string]fake.Action{scriptID: fake.Hold(nil, nil, nil), "get_sources": func(s *fake.Stage) stage.Result { s.NoEnd(); return stage.Result{} }}},
		"everything":    {Else: stubborn},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(s), func(b *bench) {
				a, c := b.job(minimal())
				ctx, cancel := context.WithCancelCause(b.t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(engine.ErrShutdown) })
				began := time.Now()
				if err := b.engine.Run(ctx, a); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began) - 10*time.Second; took > 25*time.Second {
					t.Errorf("it took %v to stop", took)
				}
				if got := c.final(t); got.FailureReason != "runner_interrupted" {
					t.Errorf("ended %+v", got)
				}
			})
		})
	}
}
