package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/project"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
)

// coordinator is the coordinator's side of one job, in memory: what needs hours (in a bubble, where
// they pass at once) cannot be tried over a network. Its log is as strict as GitLab's.
type coordinator struct {
	mu      sync.Mutex
	updates []gitlab.Update
	log     []byte
	sent    map[string]string // artifacts by type
	uploads int

	// What follows replaces the ordinary answers; nil does not.
	update   func(u gitlab.Update) (gitlab.UpdateResult, error)
	patch    func() (gitlab.PatchResult, error)
	upload   func(a gitlab.ArtifactUpload, attempt int) error
	download func(d job.Dependency) (string, error)
	cuts     int // so many downloads break off after their first byte
}

func (c *coordinator) Update(ctx context.Context, u gitlab.Update) (gitlab.UpdateResult, error) {
	if ctx.Err() != nil {
		return gitlab.UpdateResult{}, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updates = append(c.updates, u)
	if c.update != nil {
		return c.update(u)
	}
	if want := fmt.Sprintf("crc32:%08x", crc32.ChecksumIEEE(c.log)); u.State != "running" && u.Output.Checksum != want {
		return gitlab.UpdateResult{}, fmt.Errorf("checksum %s, the log has %s", u.Output.Checksum, want)
	}
	return gitlab.UpdateResult{Accepted: true}, nil
}

func (c *coordinator) PatchTrace(ctx context.Context, body []byte, start int64, _ bool) (gitlab.PatchResult, error) {
	if ctx.Err() != nil {
		return gitlab.PatchResult{}, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.patch != nil {
		return c.patch()
	}
	if start != int64(len(c.log)) {
		return gitlab.PatchResult{Offset: int64(len(c.log))}, &gitlab.Error{StatusCode: 416}
	}
	c.log = append(c.log, body...)
	return gitlab.PatchResult{Offset: int64(len(c.log))}, nil
}

func (c *coordinator) UploadArtifact(_ context.Context, a gitlab.ArtifactUpload) error {
	c.mu.Lock()
	c.uploads++
	attempt, upload := c.uploads, c.upload
	c.mu.Unlock()
	if upload != nil {
		if err := upload(a, attempt); err != nil {
			return err
		}
	}
	body, err := a.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if int64(len(b)) != a.Size {
		return fmt.Errorf("an archive of %d bytes has %d", a.Size, len(b))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[a.Type] = string(b)
	return nil
}

func (c *coordinator) DownloadArtifact(_ context.Context, d job.Dependency, _ bool) (io.ReadCloser, int64, error) {
	if c.download == nil {
		return nil, 0, errors.New("there are no artifacts")
	}
	text, err := c.download(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cuts > 0 {
		c.cuts--
		return io.NopCloser(io.MultiReader(strings.NewReader(text[:1]), iotest.ErrReader(io.ErrUnexpectedEOF))), int64(len(text)), err
	}
	return io.NopCloser(strings.NewReader(text)), int64(len(text)), err
}

// final is the last update: the job's end, as the coordinator knows it.
func (c *coordinator) final(t *testing.T) gitlab.Update {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.updates) == 0 || c.updates[len(c.updates)-1].State == "running" {
		t.Fatalf("no final status was reported; the log:\n%s", c.log)
	}
	return c.updates[len(c.updates)-1]
}

func (c *coordinator) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.log)
}

// bench is an engine with scripted agents and a coordinator in memory for each job.
type bench struct {
	t       *testing.T
	dir     string
	machine *fake.Machine
	journal *journal.Journal
	engine  *engine.Engine
	log     *slog.Logger
	words   *operatorLog
	mu      sync.Mutex
	jobs    map[int64]*coordinator
	next    int64
	runner  plan.Runner
	missing error         // what Options.Executor says
	closing func()        // called when an environment is about to be removed; may be nil
	drain   time.Duration // Options.Drain

	bequeath func() // called when an environment is told of its job's success; may be nil
	events   engine.Events
}

// operatorLog keeps what the operator reads.
type operatorLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *operatorLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *operatorLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bubble runs test on a bench in a bubble of its own, in which time passes at once and every goroutine
// has to end.
func bubble(t *testing.T, scripts func(*job.Job) fake.Script, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { onBench(t, scripts, test) })
}

// onBench is bubble with real time.
func onBench(t *testing.T, scripts func(*job.Job) fake.Script, test func(b *bench)) {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), machine: fake.NewMachine(scripts), words: &operatorLog{}, jobs: map[int64]*coordinator{}}
	b.log = slog.New(slog.NewTextHandler(io.MultiWriter(b.words, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.runner = plan.Runner{
		Name: "bench", Token: "glrt-bench-token", SystemID: "s_0123456789ab", Executor: "fake", OutputLimit: 1 << 20,
		BuildsDir: "/builds", CacheDir: "/cache",
	}
	b.open()
	defer func() {
		b.stop()
		b.machine.Close()
	}()
	test(b)
}

// one is the script of every job.
func one(s fake.Script) func(*job.Job) fake.Script { return func(*job.Job) fake.Script { return s } }

// open begins a runner process.
func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.journal, err = journal.Open(filepath.Join(b.dir, "state"), journal.Options{Logger: b.log}); err != nil {
		b.t.Fatal(err)
	}
	b.engine = engine.New(engine.Options{
		Journal: b.journal, StateDir: filepath.Join(b.dir, "state"), Logger: b.log,
		Version: plan.Version{Name: "skerry", Version: "1.2.3", Revision: "abcdef", Platform: "linux", Arch: "amd64"},
		Executor: func(plan.Runner) (executor.Executor, error) {
			return closeWatcher{b.machine.Executor(), b.closing, b.bequeath}, b.missing
		},
		Drain:  b.drain,
		Events: b.events,
		Coordinator: func(_ plan.Runner, id int64, _ string) (engine.Coordinator, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.jobs[id], nil
		},
	})
}

// stop ends the runner process.
func (b *bench) stop() {
	b.t.Helper()
	b.engine.Wait(context.Background())
	if err := b.journal.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// job makes a job; the coordinator's side of it may be changed before it is run.
func (b *bench) job(spec payload.Spec) (engine.Assignment, *coordinator) {
	b.t.Helper()
	b.next++
	spec.Name = cmp.Or(spec.Name, "job")
	p := payload.Build(&spec, &payload.Handout{
		Addr: "gitlab.example", ID: b.next, Token: fmt.Sprintf("job-token-%d", b.next), Timeout: cmp.Or(spec.Timeout, time.Hour),
		Pipeline: payload.Pipeline{Commit: project.Commit{SHA: strings.Repeat("a", 40), Ref: "main"}},
	})
	p.Features.FailureReasons = append(p.Features.FailureReasons, "job_canceled", "runner_interrupted", "runner_configuration_error")
	if spec.Edit != nil {
		spec.Edit(&p)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		b.t.Fatal(err)
	}
	j, err := jobpayload.Translate(raw)
	if err != nil {
		b.t.Fatal(err)
	}
	c := &coordinator{sent: map[string]string{}}
	b.mu.Lock()
	b.jobs[j.ID] = c
	b.mu.Unlock()
	return engine.Assignment{Job: j, Payload: raw, Runner: b.runner}, c
}

// run makes a job and runs it to its end.
func (b *bench) run(spec payload.Spec) *coordinator {
	b.t.Helper()
	a, c := b.job(spec)
	if err := b.engine.Run(b.t.Context(), a); err != nil {
		b.t.Fatalf("Run: %v", err)
	}
	return c
}

// minimal is a job of one script that may take an hour.
func minimal() payload.Spec {
	return payload.Spec{Script: []string{"true"}}
}
