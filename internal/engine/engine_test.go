package engine_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/shell"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
)

// rig is an engine with real agents against the strict coordinator.
type rig struct {
	t      *testing.T
	co     *gitlabtest.Coordinator
	client *gitlab.Client
	engine *engine.Engine
	runner plan.Runner
	dir    string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	co := gitlabtest.Start(t, gitlabtest.Options{})
	r := &rig{t: t, co: co, dir: t.TempDir()}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	r.client, err = gitlab.New(gitlab.Options{URL: co.URL(), Logger: log, Info: gitlab.Info{
		Name: "skerry", Executor: "shell", Features: gitlab.Supported(gitlab.ExecutorFeatures{Shared: true}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	options, err := json.Marshal(shell.Options{Dir: filepath.Join(r.dir, "envs"), Agent: agenttest.Build(t)})
	if err != nil {
		t.Fatal(err)
	}
	r.runner = plan.Runner{
		Name: "test", URL: co.URL(), Token: co.AddRunner(gitlabtest.RunnerSpec{}).Token, SystemID: "s_0123456789ab",
		Executor: "shell", Options: options, Shared: true, SharedBuilds: true, OutputLimit: 4 << 20,
		BuildsDir: filepath.Join(r.dir, "builds"), CacheDir: filepath.Join(r.dir, "cache"),
	}
	j, err := journal.Open(filepath.Join(r.dir, "state"), journal.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	r.engine = engine.New(engine.Options{
		Journal: j, StateDir: filepath.Join(r.dir, "state"), Logger: log,
		Version: plan.Version{Name: "skerry", Version: "test", Revision: "test", Platform: "linux", Arch: "amd64"},
		Executor: func(p plan.Runner) (executor.Executor, error) {
			var o shell.Options
			err := json.Unmarshal(p.Options, &o)
			return shell.New(o, log), err
		},
		Coordinator: func(_ plan.Runner, id int64, token string) (engine.Coordinator, error) {
			return r.client.Job(id, token), nil
		},
		Touch: 200 * time.Millisecond,
	})
	t.Cleanup(func() {
		r.engine.Wait(context.Background())
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// take asks the coordinator for the job that is waiting.
func (r *rig) take() engine.Assignment {
	r.t.Helper()
	res, err := r.client.RequestJob(r.t.Context(), gitlab.JobRequest{Token: r.runner.Token, SystemID: r.runner.SystemID})
	if err != nil {
		r.t.Fatal(err)
	}
	j, err := jobpayload.Translate(res.Payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return engine.Assignment{Job: j, Payload: res.Payload, Runner: r.runner}
}

// run queues a job, runs it to its end and returns what the coordinator has of it.
func (r *rig) run(spec gitlabtest.JobSpec) (gitlabtest.Job, string) {
	r.t.Helper()
	id, err := r.co.AddJob(r.t.Context(), spec)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.engine.Run(r.t.Context(), r.take()); err != nil {
		r.t.Fatal(err)
	}
	return r.seen(id)
}

func (r *rig) seen(id int64) (gitlabtest.Job, string) {
	r.t.Helper()
	j, _ := r.co.Job(id)
	log, err := r.co.Trace(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return j, string(log)
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		spec   gitlabtest.JobSpec
		status string
		reason string
		code   int
		log    []string // in this order
	}{
		{
			name:   "success",
			spec:   gitlabtest.JobSpec{Script: []string{"echo hello $CI_JOB_NAME"}, AfterScript: []string{"echo after $CI_JOB_STATUS"}},
			status: gitlabtest.StatusSuccess,
			log:    []string{"Running with skerry", "section_start:", ":step_script", "$ echo hello", "hello job", ":after_script", "after success", "Job succeeded"},
		},
		{
			name:   "exit code",
			spec:   gitlabtest.JobSpec{Script: []string{"echo before", "exit 7", "echo never"}, AfterScript: []string{"echo after $CI_JOB_STATUS"}},
			status: gitlabtest.StatusFailed, reason: "script_failure", code: 7,
			log: []string{"before", "after failed", "ERROR: Job failed: exit status 7"},
		},
		{
			name:   "timeout",
			spec:   gitlabtest.JobSpec{Script: []string{"echo begun", "sleep 600"}, Timeout: 8 * time.Second},
			status: gitlabtest.StatusFailed, reason: "job_execution_timeout",
			log: []string{"begun", "ERROR: Job failed: execution took longer than 8s seconds"},
		},
		{
			name: "script timeout runs after_script",
			spec: gitlabtest.JobSpec{Script: []string{"sleep 600"}, AfterScript: []string{"echo after $CI_JOB_STATUS"},
				Variables: []jobpayload.Variable{{Key: "RUNNER_SCRIPT_TIMEOUT", Value: "1s"}}},
			status: gitlabtest.StatusFailed, reason: "job_execution_timeout",
			log: []string{"after timedout"},
		},
		{
			name: "masked",
			spec: gitlabtest.JobSpec{Script: []string{"echo secret is $SECRET."},
				Variables: []jobpayload.Variable{{Key: "SECRET", Value: "topsecretvalue", Masked: true}}},
			status: gitlabtest.StatusSuccess,
			log:    []string{"secret is [MASKED]."},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j, log := newRig(t).run(c.spec)
			if j.Status != c.status || j.Reason != c.reason || j.ExitCode != c.code {
				t.Errorf("job ended %s %q %d, want %s %q %d", j.Status, j.Reason, j.ExitCode, c.status, c.reason, c.code)
			}
			inOrder(t, log, c.log)
		})
	}
}

// inOrder checks that all of want are in log, one behind the other.
func inOrder(t *testing.T, log string, want []string) {
	t.Helper()
	rest := log
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("%q is not (or not there) in the log:\n%s", w, log)
		}
		rest = after
	}
}
