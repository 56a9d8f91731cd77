package engine_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// A runner that leaves its jobs to the next process loses nothing, wherever the job is.
func TestDetachAndResume(t *testing.T) {
	t.Parallel()
	undisturbed := ""
	r := &recorder{}
	bubble(t, one(r.script("", nil)), func(b *bench) { undisturbed = withoutTimes(runWhole(b, nil).text()) })
	for _, at := range stages() {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			bubble(t, func(*job.Job) fake.Script {
				release := make(chan struct{})
				time.AfterFunc(time.Minute, func() { close(release) })
				return r.script(at, fake.Hold(nil, release, fake.Claim(stage.Result{})))
			}, func(b *bench) {
				a, c := b.job(whole())
				withDownload(c)
				ctx, cancel := context.WithCancelCause(b.t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(engine.ErrDetach) })
				began := time.Now()
				if err := b.engine.Run(ctx, a); !errors.Is(err, engine.ErrDetach) {
					t.Fatalf("Run: %v", err)
				}
				if took := time.Since(began); took > 11*time.Second {
					t.Errorf("it took %v to leave", took)
				}
				b.restart()
				r.expect(t, c, "success", "", 0, stages()...)
				if got := withoutTimes(c.text()); got != undisturbed {
					t.Errorf("the log differs from an undisturbed one:\n%s\n----\n%s", got, undisturbed)
				}
			})
		})
	}
}

// A runner that leaves while earlier jobs' artifacts are being fetched leaves no word of it in the log.
func TestDetachWhileDownloading(t *testing.T) {
	t.Parallel()
	undisturbed := ""
	r := &recorder{}
	bubble(t, one(r.script("", nil)), func(b *bench) { undisturbed = withoutTimes(runWhole(b, nil).text()) })
	r = &recorder{}
	bubble(t, one(r.script("", nil)), func(b *bench) {
		a, c := b.job(whole())
		c.download = func(job.Dependency) (string, error) { return "", refusal(503) }
		ctx, cancel := context.WithCancelCause(b.t.Context())
		time.AfterFunc(10*time.Second, func() { cancel(engine.ErrDetach) })
		if err := b.engine.Run(ctx, a); !errors.Is(err, engine.ErrDetach) {
			t.Fatalf("Run: %v", err)
		}
		withDownload(c)
		b.restart()
		r.expect(t, c, "success", "", 0, stages()...)
		if got := withoutTimes(c.text()); got != undisturbed {
			t.Errorf("the log differs from an undisturbed one:\n%s\n----\n%s", got, undisturbed)
		}
	})
}

// withoutTimes takes the times out of a log, and what the job has used.
func withoutTimes(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		if _, rest, ok := strings.Cut(line, "Z "); ok {
			line = rest
		}
		if strings.Contains(line, "Job account: ") {
			line = "Job account\n"
		}
		before, after, ok := strings.Cut(line, "section_")
		if ok {
			kind, rest, _ := strings.Cut(after, ":")
			_, name, _ := strings.Cut(rest, ":")
			line = before + "section_" + kind + ":" + name
		}
		out.WriteString(line)
	}
	return out.String()
}

// restart begins another runner process, which brings what it finds to its end.
func (b *bench) restart() {
	b.t.Helper()
	b.stop()
	b.open()
	records, err := b.engine.Adoptable()
	if err != nil || len(records) == 0 {
		b.t.Fatalf("nothing to adopt: %v", err)
	}
	for _, rec := range records {
		if err := b.engine.Resume(b.t.Context(), rec, engine.Holds{}); err != nil {
			b.t.Errorf("Resume: %v", err)
		}
	}
	if left, err := b.engine.Adoptable(); err != nil || len(left) > 0 {
		b.t.Errorf("left behind: %d, %v", len(left), err)
	}
}

// An adopted job whose executor or environment is no longer there is reported, not forgotten.
func TestResumeWithoutExecutor(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*bench){
		"no executor":    func(b *bench) { b.missing = errors.New("this build has no executor \"fake\"") },
		"no environment": func(b *bench) { b.machine.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(scripted(fake.Hold(nil, nil, nil))), func(b *bench) {
				a, c := b.job(minimal())
				ctx, cancel := context.WithCancelCause(b.t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(engine.ErrDetach) })
				if err := b.engine.Run(ctx, a); !errors.Is(err, engine.ErrDetach) {
					t.Fatalf("Run: %v", err)
				}
				change(b)
				b.restart()
				if got := c.final(t); got.State != "failed" || got.FailureReason != "runner_system_failure" {
					t.Errorf("ended %+v", got)
				}
				inOrder(t, c.text(), []string{"ERROR: Job failed (system failure): "})
			})
		})
	}
}

// A stage that the agent ended at the job's deadline, while there was no runner, is a timeout of the job:
// after_script is not run.
func TestTimeoutWithoutRunner(t *testing.T) {
	t.Parallel()
	r, begun, release := &recorder{}, make(chan struct{}, 1), make(chan struct{})
	hold := fake.Hold(begun, release, fake.Claim(stage.Result{Reason: stage.Timeout}))
	onBench(t, one(r.script(scriptID, hold)), func(b *bench) {
		spec := minimal()
		spec.AfterScript, spec.Timeout = []string{"true"}, time.Second
		a, c := b.job(spec)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-begun
			cancel(engine.ErrDetach)
		}()
		if err := b.engine.Run(ctx, a); !errors.Is(err, engine.ErrDetach) {
			t.Fatalf("Run: %v", err)
		}
		<-time.After(time.Second) // the job's deadline, which is the machine's clock's
		close(release)
		b.restart()
		r.expect(t, c, "failed", "job_execution_timeout", 0, "get_sources", scriptID, "cleanup_file_variables")
		inOrder(t, c.text(), []string{"execution took longer than 1s seconds"})
	})
}

// An adopted job that is cancelled before this process has come to the stage in hand ends that stage, or lets
// it go on, just as if it had started it: neither the log nor the end of the job waits for it.
func TestCancelWhileResuming(t *testing.T) {
	t.Parallel()
	cancellations(t, tryCancelWhileResuming)
}

func tryCancelWhileResuming(t *testing.T, at, status, reason string, ran []string) {
	t.Helper()
	r, slow := &recorder{}, atomic.Bool{}
	bubble(t, func(*job.Job) fake.Script {
		release := make(chan struct{})
		time.AfterFunc(2*time.Hour, func() { close(release) }) // what is not cancelled goes on
		hold := fake.Hold(nil, release, fake.Claim(stage.Result{}))
		s := r.script(at, func(s *fake.Stage) stage.Result {
			s.Write(spool.Stdout, "what was written\n")
			return hold(s)
		})
		s.Intercept = func(_ executor.Place, _ http.ResponseWriter, req *http.Request) bool {
			if slow.Load() && req.Method == http.MethodPut && req.URL.Path == "/v1/job" {
				time.Sleep(8 * time.Second) // in a bubble
			}
			return false
		}
		return s
	}, func(b *bench) {
		spec := whole()
		spec.Timeout = 5 * time.Hour
		a, c := b.job(spec)
		withDownload(c)
		ctx, cancel := context.WithCancelCause(b.t.Context())
		time.AfterFunc(10*time.Second, func() { cancel(engine.ErrDetach) })
		if err := b.engine.Run(ctx, a); !errors.Is(err, engine.ErrDetach) {
			t.Fatalf("Run: %v", err)
		}
		slow.Store(true)
		c.update = func(u gitlab.Update) (gitlab.UpdateResult, error) {
			return gitlab.UpdateResult{Accepted: true, Status: map[bool]string{true: status}[u.State == "running"]}, nil
		}
		began := time.Now()
		b.restart()
		if took := time.Since(began); reason != "" && took > 20*time.Second {
			t.Errorf("it took %v to cancel", took)
		}
		state := map[bool]string{true: "success", false: "failed"}[reason == ""]
		r.expect(t, c, state, reason, 0, ran...)
		inOrder(t, c.text(), []string{"what was written"})
	})
}
