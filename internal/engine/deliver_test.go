package engine_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// accepted and refused are answers to updates.
func accepted() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{Accepted: true}, nil }

func refusal(status int) error { return &gitlab.Error{Op: "call", StatusCode: status} }

// finals counts the final updates.
func (c *coordinator) finals() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, u := range c.updates {
		if u.State != "running" {
			n++
		}
	}
	return n
}

// answers makes the coordinator answer the first final updates so, and accept the one after them.
func answers(list ...func() (gitlab.UpdateResult, error)) func(gitlab.Update) (gitlab.UpdateResult, error) {
	return func(u gitlab.Update) (gitlab.UpdateResult, error) {
		if u.State == "running" || len(list) == 0 {
			return accepted()
		}
		next := list[0]
		list = list[1:]
		return next()
	}
}

func repeat(n int, answer func() (gitlab.UpdateResult, error)) []func() (gitlab.UpdateResult, error) {
	out := make([]func() (gitlab.UpdateResult, error), n)
	for i := range out {
		out[i] = answer
	}
	return out
}

// The final status is sent until it is accepted.
func TestFinalStatus(t *testing.T) {
	t.Parallel()
	later := func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{Interval: 30 * time.Second}, nil }
	down := func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{}, refusal(http.StatusBadGateway) }
	differs := func() (gitlab.UpdateResult, error) {
		return gitlab.UpdateResult{}, refusal(http.StatusPreconditionFailed)
	}
	conflict := func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{}, refusal(http.StatusConflict) }
	for _, c := range []struct {
		name         string
		answers      []func() (gitlab.UpdateResult, error)
		retries      int
		finals       int
		atLeast, max time.Duration
		kept         int
		without      bool // the last update says nothing of the log
	}{
		{name: "202 three times", answers: repeat(3, later), finals: 4, atLeast: 90 * time.Second, max: 2 * time.Minute},
		{name: "down for 40 minutes", answers: repeat(50, down), finals: 51, atLeast: 40 * time.Minute, max: time.Hour},
		{name: "412 once", answers: repeat(1, differs), finals: 2, max: time.Minute},
		{name: "412 for ever", answers: repeat(4, differs), finals: 5, max: time.Minute, without: true},
		{name: "down for two days", answers: repeat(3000, down), finals: 1400, atLeast: 24 * time.Hour, max: 25 * time.Hour, kept: 1},
		{name: "retry limit", answers: repeat(9, down), retries: 3, finals: 3, max: time.Minute, kept: 1},
		{name: "somebody else's", answers: repeat(9, conflict), finals: 1, max: time.Minute, kept: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				b.runner.FinalUpdateRetries = c.retries
				a, co := b.job(minimal())
				co.update = answers(c.answers...)
				began := time.Now()
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatalf("Run: %v", err)
				}
				if took := time.Since(began); took < c.atLeast || took > c.max {
					t.Errorf("it took %v, want %v to %v", took, c.atLeast, c.max)
				}
				if n := co.finals(); n < c.finals || n > c.finals+c.finals/20 {
					t.Errorf("%d final updates, want %d", n, c.finals)
				}
				if kept, err := b.journal.AllKept(); err != nil || len(kept) != c.kept {
					t.Errorf("%d kept, want %d (%v)", len(kept), c.kept, err)
				}
				if got := co.final(t); (got.Output == gitlab.Output{}) != c.without {
					t.Errorf("the last update was %+v", got)
				}
				if left, err := b.engine.Adoptable(); err != nil || len(left) > 0 {
					t.Errorf("left in the journal: %d, %v", len(left), err)
				}
			})
		})
	}
}

// A result that could not be delivered before the runner was stopped is delivered by the next one, and
// nothing is done again.
func TestFinishedJobIsDeliveredAfterRestart(t *testing.T) {
	t.Parallel()
	for _, why := range []error{engine.ErrDetach, engine.ErrShutdown} {
		t.Run(why.Error(), func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			bubble(t, one(r.script("", nil)), func(b *bench) {
				a, c := b.job(whole())
				withDownload(c)
				up := false
				c.update = func(u gitlab.Update) (gitlab.UpdateResult, error) {
					if u.State != "running" && !up {
						return gitlab.UpdateResult{}, refusal(http.StatusServiceUnavailable)
					}
					return accepted()
				}
				ctx, cancel := context.WithCancelCause(b.t.Context())
				time.AfterFunc(10*time.Minute, func() { cancel(why) })
				began := time.Now()
				if err := b.engine.Run(ctx, a); !errors.Is(err, why) {
					t.Fatalf("Run: %v", err)
				}
				if took := time.Since(began) - 10*time.Minute; took > 26*time.Second {
					t.Errorf("it took %v to stop", took)
				}
				up = true
				b.restart()
				r.expect(t, c, "success", "", 0, stages()...)
			})
		})
	}
}

// Only a job that the coordinator has confirmed is run; of others nothing is kept.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func() (gitlab.UpdateResult, error)
		max    time.Duration
	}{
		"gone":        {func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{Status: gitlab.StatusCanceled}, nil }, 0},
		"conflict":    {func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{}, refusal(http.StatusConflict) }, 0},
		"bad request": {func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{}, refusal(http.StatusBadRequest) }, 3 * time.Minute},
		"no answer":   {func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{}, refusal(http.StatusBadGateway) }, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := false
			bubble(t, func(*job.Job) fake.Script { made = true; return fake.Script{} }, func(b *bench) {
				a, co := b.job(minimal())
				co.update = func(gitlab.Update) (gitlab.UpdateResult, error) { return c.answer() }
				began := time.Now()
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatalf("Run: %v", err)
				}
				if took := time.Since(began); made || co.finals() > 0 || took > c.max {
					t.Errorf("made: %v, final updates: %d, after %v", made, co.finals(), took)
				}
				if kept, err := b.journal.AllKept(); err != nil || len(kept) > 0 {
					t.Errorf("kept %d, %v", len(kept), err)
				}
			})
		})
	}
}

// A coordinator that goes away just after it has handed a job out loses neither the job nor a cancellation.
func TestConfirmationAfterAnOutage(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]gitlab.Update{
		"running":              {State: "success"},
		gitlab.StatusCanceling: {State: "failed", FailureReason: "job_canceled"},
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			bubble(t, one(r.script("", nil)), func(b *bench) {
				a, c := b.job(minimal())
				began := time.Now()
				c.update = func(gitlab.Update) (gitlab.UpdateResult, error) {
					if time.Since(began) < 40*time.Minute {
						return gitlab.UpdateResult{}, refusal(http.StatusBadGateway)
					}
					return gitlab.UpdateResult{Accepted: true, Status: status}, nil
				}
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatalf("Run: %v", err)
				}
				if took := time.Since(began); took > 41*time.Minute {
					t.Errorf("it took %v", took)
				}
				if got := c.final(t); got.State != want.State || got.FailureReason != want.FailureReason {
					t.Errorf("ended %+v", got)
				}
				if ran := slices.Contains(r.stages(), scriptID); ran != (want.State == "success") {
					t.Errorf("stages: %v", r.stages())
				}
			})
		})
	}
}

// Archives are sent until the coordinator has them, however long it is away, and never twice once it has.
func TestUploads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		answers  []error // to the first attempts
		attempts int
		state    string
		reason   string
		log      string
	}{
		{"at once", nil, 1, "success", "", "201 Created"},
		{"away for long", []error{refusal(503), refusal(502), refusal(500), refusal(429), refusal(503), refusal(503), refusal(503)}, 8, "success", "", "201 Created"},
		{"too large", []error{refusal(413)}, 1, "failed", "script_failure", "ERROR: Uploading artifacts"},
		{"refused", []error{refusal(400), refusal(400), refusal(400)}, 3, "failed", "script_failure", "ERROR: Uploading artifacts"},
		{"refused once", []error{refusal(400)}, 2, "success", "", "201 Created"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			bubble(t, one(r.script("", nil)), func(b *bench) {
				co := runWhole(b, func(co *coordinator) {
					co.upload = func(a gitlab.ArtifactUpload, n int) error {
						if a.Unanswered != (n > 1) {
							t.Errorf("attempt %d: Unanswered is %v", n, a.Unanswered)
						}
						if n <= len(c.answers) {
							return c.answers[n-1]
						}
						return nil
					}
				})
				if got := co.final(t); got.State != c.state || got.FailureReason != c.reason || co.uploads != c.attempts {
					t.Errorf("ended %+v after %d attempts, want %d", got, co.uploads, c.attempts)
				}
				inOrder(t, co.text(), []string{c.log})
			})
		})
	}
}

// Earlier jobs' artifacts are fetched side by side, as often as ARTIFACT_DOWNLOAD_ATTEMPTS says when they are
// refused, and for as long as it takes when the server is away.
func TestDownloads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		attempts string
		answers  []error
		asked    int
		reason   string
	}{
		{"all there", "1", nil, 3, ""},
		{"gone", "2", []error{refusal(404), refusal(404)}, 4, "script_failure"},
		{"forbidden, then not", "3", []error{refusal(403), refusal(403)}, 5, ""},
		{"away", "1", []error{refusal(503), refusal(503), refusal(500)}, 6, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(fake.Script{Stages: map[string]fake.Action{"download_artifacts": func(s *fake.Stage) stage.Result {
				for _, name := range s.Spec.Unpack.Archives {
					if content, ok := s.Stored(name); !ok || content != "zip of "+strings.TrimPrefix(name, "dependency-") {
						t.Errorf("%s holds %q", name, content)
					}
				}
				return stage.Result{}
			}}}), func(b *bench) {
				spec := minimal()
				spec.Variables = []jobpayload.Variable{{Key: "ARTIFACT_DOWNLOAD_ATTEMPTS", Value: c.attempts}}
				spec.Edit = func(p *jobpayload.Payload) {
					for id := range int64(3) {
						p.Dependencies = append(p.Dependencies, jobpayload.Dependency{ID: id, Name: "dep", ArtifactsFile: &jobpayload.ArtifactFile{Filename: "a.zip"}})
					}
				}
				a, co := b.job(spec)
				asked, failed := 0, 0
				co.download = func(d job.Dependency) (string, error) {
					co.mu.Lock()
					defer co.mu.Unlock()
					asked++
					if d.ID == 1 && failed < len(c.answers) {
						failed++
						return "", c.answers[failed-1]
					}
					return "zip of " + string(rune('0'+d.ID)), nil
				}
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatal(err)
				}
				if got := co.final(t); got.FailureReason != c.reason || asked != c.asked {
					t.Errorf("ended %+v after %d questions, want %d", got, asked, c.asked)
				}
			})
		})
	}
}

// A job that this runner cannot even begin (a full disk, say) is reported as failed at once.
func TestJobThatCannotBegin(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		if err := os.WriteFile(filepath.Join(b.dir, "state", "jobs"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		a, c := b.job(minimal())
		if err := b.engine.Run(b.t.Context(), a); err == nil || !strings.Contains(err.Error(), "directory") {
			t.Errorf("Run: %v", err)
		}
		if got := c.final(t); got.State != "failed" || got.FailureReason != "runner_system_failure" {
			t.Errorf("ended %+v", got)
		}
		if left, err := b.engine.Adoptable(); err != nil || len(left) > 0 {
			t.Errorf("left in the journal: %d, %v", len(left), err)
		}
	})
}

// A runner whose log file cannot be written any more still reports the job's true end, and the log says
// what is missing of it.
func TestLogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}, 1), make(chan struct{})
	onBench(t, one(scripted(fake.Hold(begun, release, fake.Exit("the last words\n", 3)))), func(b *bench) {
		a, c := b.job(minimal())
		c.update = func(gitlab.Update) (gitlab.UpdateResult, error) { return accepted() }
		done := make(chan error)
		go func() { done <- b.engine.Run(t.Context(), a) }()
		<-begun
		if err := os.RemoveAll(filepath.Join(b.dir, "state", "jobs")); err != nil { // checkpoints fail from here on
			t.Fatal(err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := c.final(t); got.State != "failed" || got.ExitCode != 3 {
			t.Errorf("ended %+v", got)
		}
		inOrder(t, c.text(), []string{"Running with", "ERROR: the log ends here", "Tell the runner's administrator"})
	})
}
