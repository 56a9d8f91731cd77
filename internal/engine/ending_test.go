package engine_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// whole is a job that goes through every stage.
func whole() payload.Spec {
	s := minimal()
	s.AfterScript = []string{"true"}
	s.Cache = []jobpayload.Cache{{Key: "k", Paths: []string{"x"}, When: "always"}}
	s.Artifacts = []jobpayload.Artifact{{Paths: []string{"x"}, When: "always"}}
	s.Edit = func(p *jobpayload.Payload) {
		p.Dependencies = []jobpayload.Dependency{{ID: 5, Token: "token-5", Name: "dep", ArtifactsFile: &jobpayload.ArtifactFile{Filename: "a.zip", Size: 3}}}
	}
	return s
}

// stages are the stages of whole, in order, when all goes well.
func stages() []string {
	return []string{"get_sources", "restore_cache", "download_artifacts", scriptID, "after_script", "archive_cache", uploadsID, "cleanup_file_variables"}
}

// recorder keeps which stages ran; its script ends the stage at with do.
type recorder struct {
	mu  sync.Mutex
	ran []string
}

func (r *recorder) script(at string, do fake.Action) fake.Script {
	return fake.Script{Else: func(s *fake.Stage) stage.Result {
		r.mu.Lock()
		r.ran = append(r.ran, s.Spec.ID)
		r.mu.Unlock()
		res := stage.Result{}
		if s.Spec.ID == at {
			res = do(s)
		}
		if s.Spec.Pack != nil {
			res.Archives = append(res.Archives, s.Store("artifact-0", "content"))
		}
		return res
	}}
}

func (r *recorder) stages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ran)
}

func withDownload(c *coordinator) {
	c.download = func(job.Dependency) (string, error) { return "zip", nil }
}

// runWhole runs a job through every stage but for what happens at one of them.
func runWhole(b *bench, change func(*coordinator)) *coordinator {
	b.t.Helper()
	a, c := b.job(whole())
	withDownload(c)
	if change != nil {
		change(c)
	}
	if err := b.engine.Run(b.t.Context(), a); err != nil {
		b.t.Fatalf("Run: %v", err)
	}
	return c
}

// expect checks how a job ended and which stages it went through.
func (r *recorder) expect(t *testing.T, c *coordinator, state, reason string, code int, ran ...string) {
	t.Helper()
	if got := c.final(t); got.State != state || got.FailureReason != reason || got.ExitCode != code {
		t.Errorf("ended %s %q %d, want %s %q %d; log:\n%s", got.State, got.FailureReason, got.ExitCode, state, reason, code, c.text())
	}
	got := r.stages()
	if i := slices.IndexFunc(got, func(id string) bool { return strings.HasPrefix(id, "upload_artifacts") }); i >= 0 && i+1 < len(got) && strings.HasPrefix(got[i+1], "archive_cache") {
		got[i], got[i+1] = got[i+1], got[i] // they run side by side
	}
	if !slices.Equal(got, ran) {
		t.Errorf("stages:\n got %v\nwant %v", got, ran)
	}
}

func TestAllStages(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	bubble(t, one(r.script("", nil)), func(b *bench) {
		c := runWhole(b, nil)
		r.expect(t, c, "success", "", 0, stages()...)
		if c.sent["archive"] != "content" {
			t.Errorf("artifacts: %v", c.sent)
		}
	})
}

// Whoever shows what a job does hears of every stage, also of those that are the runner's own.
func TestEventsOfStages(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		var entered []string
		b.stop()
		b.events.Stage = func(_ string, name job.StageName) { entered = append(entered, string(name)) }
		b.open()
		b.run(minimal())
		want := []string{"prepare_executor", "prepare_script", "get_sources", "step_script", "cleanup_file_variables"}
		if !slices.Equal(entered, want) {
			t.Errorf("entered %v, want %v", entered, want)
		}
	})
}

// A stage that fails fails the job with GitLab Runner's reason, and caches and artifacts of failed jobs are kept.
func TestFailuresOfStages(t *testing.T) {
	t.Parallel()
	failure := []string{"archive_cache_on_failure", "upload_artifacts_on_failure", "cleanup_file_variables"}
	for _, c := range []struct {
		at, reason string
		res        stage.Result
		code       int
		ran        []string
	}{
		{"get_sources", "script_failure", stage.Result{Reason: stage.Failed, ExitCode: 128}, 128, append([]string{"get_sources"}, failure...)},
		{"get_sources", "runner_system_failure", stage.Result{Reason: stage.System, Message: "no git"}, 0, append([]string{"get_sources"}, failure...)},
		{"restore_cache", "runner_system_failure", stage.Result{Reason: stage.System, Message: "no space"}, 0, append(stages()[:2:2], failure...)},
		{"download_artifacts", "script_failure", stage.Result{Reason: stage.Failed, ExitCode: 1}, 1, append(stages()[:3:3], failure...)},
		{scriptID, "script_failure", stage.Result{Reason: stage.Failed, ExitCode: 3}, 3, append(stages()[:5:5], failure...)},
		{scriptID, "job_execution_timeout", stage.Result{Reason: stage.Timeout}, 0, append(stages()[:5:5], failure...)},
		{uploadsID, "script_failure", stage.Result{Reason: stage.Failed, ExitCode: 1}, 1, stages()},
		{scriptID, "runner_system_failure", stage.Result{Reason: stage.Lost, Message: "the agent was killed"}, 0, stages()[:4]},
	} {
		t.Run(c.at+" "+string(c.res.Reason), func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			bubble(t, one(r.script(c.at, fake.Claim(c.res))), func(b *bench) {
				r.expect(t, runWhole(b, nil), "failed", c.reason, c.code, c.ran...)
			})
		})
	}
}

func TestAfterScriptThatFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ignore, state, reason string
		code                  int
	}{{"true", "success", "", 0}, {"false", "failed", "script_failure", 9}} {
		t.Run(c.ignore, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(fake.Script{Stages: map[string]fake.Action{"after_script": fake.Exit("bye\n", 9)}}), func(b *bench) {
				spec := minimal()
				spec.AfterScript = []string{"false"}
				spec.Variables = []jobpayload.Variable{{Key: "AFTER_SCRIPT_IGNORE_ERRORS", Value: c.ignore}}
				co := b.run(spec)
				if got := co.final(t); got.State != c.state || got.FailureReason != c.reason || got.ExitCode != c.code {
					t.Errorf("ended %+v", got)
				}
				if ignored := strings.Contains(co.text(), "job will continue unaffected"); ignored != (c.ignore == "true") {
					t.Errorf("the log:\n%s", co.text())
				}
			})
		})
	}
}

// A prepare that fails says why, with its own reason when it has one.
func TestPrepareFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		err    error
		reason string
		log    string
	}{
		{"the author's fault", &executor.Failure{Reason: job.ReasonImagePull, Err: errors.New("no such image")}, "image_pull_failure", "ERROR: Job failed: no such image"},
		{"the runner's fault", errors.New("no engine"), "runner_system_failure", "ERROR: Job failed (system failure): prepare environment: no engine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(fake.Script{Prepare: func(context.Context, io.Writer) error { return c.err }}), func(b *bench) {
				co := b.run(minimal())
				if got := co.final(t); got.FailureReason != c.reason {
					t.Errorf("ended %+v", got)
				}
				inOrder(t, co.text(), []string{c.log})
			})
		})
	}
}

// Jobs that this runner must not begin fail clearly, and no environment is made for them.
func TestRefusedJobs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		edit   func(*jobpayload.Payload)
		reason string
		log    string
	}{
		{"unsupported", func(p *jobpayload.Payload) { p.Run = []byte(`[{"name": "x"}]`) }, "runner_unsupported", "does not execute CI/CD steps"},
		{"not allowed", func(p *jobpayload.Payload) {
			p.Variables = append(p.Variables, jobpayload.Variable{Key: "GIT_CLONE_PATH", Value: "/builds/x"})
		}, "runner_configuration_error", "custom_build_dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			made := false
			bubble(t, func(*job.Job) fake.Script { made = true; return fake.Script{} }, func(b *bench) {
				spec := minimal()
				spec.Edit = c.edit
				co := b.run(spec)
				if got := co.final(t); got.State != "failed" || got.FailureReason != c.reason || made {
					t.Errorf("ended %+v, environment made: %v", got, made)
				}
				inOrder(t, co.text(), []string{"Running with", "ERROR: Job failed: ", c.log})
			})
		})
	}
}

// What a Prepare that failed has half made is removed with its job, not with the runner's next start.
func TestHalfMadeEnvironmentIsRemoved(t *testing.T) {
	t.Parallel()
	s := fake.Script{HalfMade: true, Prepare: func(context.Context, io.Writer) error { return errors.New("the second container cannot be made") }}
	bubble(t, one(s), func(b *bench) {
		b.run(minimal())
		b.engine.Wait(b.t.Context())
		if refs := b.machine.Refs(); len(refs) > 0 {
			t.Errorf("left behind: %v", refs)
		}
	})
}
