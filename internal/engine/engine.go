// Package engine takes one job from its payload to the final status that the coordinator has
// accepted. It holds the job's state machine, its secrets, trace and journal; the work itself is
// done by the agents in the job's environment.
//
// # How a job survives the runner
//
// Every step is written down before it is acted on and is safe to repeat: the record in the journal
// (payload, runner entry, ref) before anything is made, the outline's entries before they are shown,
// stages and archives under ids that the agents keep. A runner that finds a record when it starts
// runs the same program again; agents answer what they have already done at once, so it comes to the
// point where its predecessor died and goes on from there.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/journal"
	"gitlab.com/skerry/skerry/internal/plan"
)

// Coordinator is what the engine asks of the coordinator about one job; *gitlab.JobClient is one.
type Coordinator interface {
	Update(ctx context.Context, u gitlab.Update) (gitlab.UpdateResult, error)
	PatchTrace(ctx context.Context, body []byte, start int64, debug bool) (gitlab.PatchResult, error)
	UploadArtifact(ctx context.Context, a gitlab.ArtifactUpload) error
	DownloadArtifact(ctx context.Context, d job.Dependency, direct bool) (io.ReadCloser, int64, error)
}

// Events is told what happens to jobs, for metrics and the read model. Calls come from several
// goroutines and must not block. Nil functions are not called.
type Events struct {
	Started func(s Start)
	Stage   func(ref string, name job.StageName)
	Ended   func(ref string, r job.Result)
	Nix     func(ref string, n wire.Nix) // what the job has had of its Nix store, when its work is over
	Over    func(ref string)             // nothing of the job is left to do
}

// Start is a job that begins, or that is taken over from an earlier runner process.
type Start struct {
	Ref       string
	RunnerKey string
	Plan      *plan.Plan
	Adopted   bool
}

// Options is what an Engine works with.
type Options struct {
	Journal  *journal.Journal
	StateDir string
	Version  plan.Version
	Logger   *slog.Logger
	Events   Events

	// Executor returns the executor of a runner entry. It is called for new jobs and, with what was
	// journaled, for adopted ones.
	Executor func(r plan.Runner) (executor.Executor, error)
	// Coordinator returns the coordinator's side of one job.
	Coordinator func(r plan.Runner, jobID int64, token string) (Coordinator, error)

	// Lease is how long agents go on without a runner; 0 means two hours: GitLab itself drops a job
	// that nobody has updated for one.
	Lease time.Duration
	// Touch is how often a silent job is reported as running and cancellations are asked for;
	// 0 means 3 s. With many jobs it is less often, see touchRate.
	Touch time.Duration
	// Drain is how long the rest of a job's log may take to come from its agents when all its stages are
	// over; 0 means 5 min. What is missing then is left out, and the log says so.
	Drain time.Duration
	// KeepFor is how long the result and log of a job that GitLab dropped are kept; 0 means 7 days.
	KeepFor time.Duration
}

// Engine runs jobs. Its methods may be called concurrently.
type Engine struct {
	o       Options
	running counter
	closing sync.WaitGroup // environments that are being closed
	live    live
}

// ErrDetach is the cause to cancel Run's context with when the runner leaves its jobs to the next
// process: the environments go on, the record stays.
var ErrDetach = errors.New("the runner is leaving its jobs to the next process")

// ErrShutdown is the cause to cancel Run's context with when the runner stops and its jobs end with it:
// they are cancelled and reported as failed.
var ErrShutdown = errors.New("the runner is stopping")

// New returns an Engine.
func New(o Options) *Engine {
	if o.Lease == 0 {
		o.Lease = 2 * time.Hour
	}
	if o.Touch == 0 {
		o.Touch = 3 * time.Second
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Minute
	}
	if o.KeepFor == 0 {
		o.KeepFor = 7 * 24 * time.Hour
	}
	return &Engine{o: o, live: newLive()}
}

// Assignment is a job as the poller got it.
type Assignment struct {
	Job        *job.Job // translated from Payload
	Payload    []byte   // as received; journaled
	Runner     plan.Runner
	RunnerKey  string // the poller's name of the runner
	Slot       plan.Slot
	ProjectKey string // under which Slot.Project was allocated

	Holds
}

// Holds are how a job gives back early what it holds of others. Each is called at most once, perhaps from another
// goroutine and when Run or Resume has returned already; nil is not called.
type Holds struct {
	// Idle: all that is left to do is to deliver the result, and the coordinator has not taken it for a while.
	Idle func()
	// Closed: the job's environment is closed, but for what is kept of it for later jobs (executor.Bequeather), so that its numbers, and the directories that are named after
	// them, can be another's. A coordinator hands out a pipeline's next job while it takes the result of the
	// one before, which is sooner than Run returns.
	Closed func()
	// Held: the job is over and only its environment is kept (keep_failed); Run returns when that has been
	// removed. Until then nobody else may get Slot's numbers.
	Held func()
}

// Run takes a job to its end: it returns when the coordinator has accepted the final status, when
// the job is no longer ours, or when ctx is cancelled. ctx's cause says what then becomes of the job:
// ErrDetach leaves it to the next runner process, anything else ends it first.
func (e *Engine) Run(ctx context.Context, a Assignment) error {
	j := a.Job
	entry, err := json.Marshal(a.Runner)
	if err != nil {
		return err
	}
	now := time.Now()
	rec := journal.Record{
		Ref:          executor.NewRef(executor.OwnerID(e.o.Journal.Owner())).String(),
		State:        journal.Accepted,
		JobID:        j.ID,
		RunnerKey:    a.RunnerKey,
		ConcurrentID: a.Slot.Concurrent,
		ProjectID:    a.Slot.Project,
		ProjectKey:   a.ProjectKey,
		Accepted:     now,
		Payload:      a.Payload,
		Runner:       entry,
	}
	if rec.Extra, err = json.Marshal(newProgress(now, j.Timeout)); err != nil {
		return err
	}
	if err := e.o.Journal.Put(context.WithoutCancel(ctx), rec); err != nil {
		return e.refuse(ctx, a, fmt.Errorf("journal the job: %w", err))
	}
	x, err := e.prepareExecution(rec, j)
	if err != nil {
		return errors.Join(e.refuse(ctx, a, err), e.o.Journal.Delete(context.WithoutCancel(ctx), rec.Ref))
	}
	x.holds = a.Holds
	return x.execute(ctx)
}

// refuse reports a job as failed that this runner cannot even begin: its disk is full, say.
func (e *Engine) refuse(ctx context.Context, a Assignment, why error) error {
	api, err := e.o.Coordinator(a.Runner, a.Job.ID, a.Job.Token)
	if err != nil {
		return errors.Join(why, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refuseWithin)
	defer cancel()
	_, err = api.Update(ctx, gitlab.Update{State: string(job.Running)})
	if err == nil {
		_, err = api.Update(ctx, gitlab.Update{State: string(job.Failed), FailureReason: string(job.ReasonSystem)})
	}
	return errors.Join(why, err)
}

// refuseWithin is how long a job that cannot be begun is tried to be given back.
const refuseWithin = 30 * time.Second

// Adoptable lists the jobs that an earlier runner process left. Call it once, before Run.
func (e *Engine) Adoptable() ([]journal.Record, error) { return e.o.Journal.All() }

// Resume goes on with a job that an earlier runner process left; it returns like Run.
func (e *Engine) Resume(ctx context.Context, rec journal.Record, holds Holds) error {
	j, err := jobpayload.Translate(rec.Payload)
	if err != nil {
		return err
	}
	for {
		x, err := e.prepareExecution(rec, j)
		if err == nil {
			x.holds = holds
			return x.execute(ctx)
		}
		e.o.Logger.Error("An adopted job cannot be gone on with; it is tried again", "job", rec.JobID, "in", resumePause, "error", err)
		if !sleep(ctx, resumePause) {
			return errors.Join(err, cause(ctx))
		}
	}
}

// resumePause is the time between two attempts to go on with an adopted job, when the disk is full, say.
const resumePause = 30 * time.Second

// Expire removes what was kept of jobs that the coordinator had dropped, once its time is over.
func (e *Engine) Expire(ctx context.Context) error {
	expired, err := e.o.Journal.Expire(ctx, time.Now())
	if err != nil {
		return err
	}
	var errs []error
	for _, kept := range expired {
		if ref, err := executor.ParseRef(kept.Record.Ref); err == nil {
			errs = append(errs, os.RemoveAll(e.jobDir(ref)))
		}
	}
	return errors.Join(errs...)
}

// Wait returns when the environments of all jobs that have ended are closed, or when ctx ends.
func (e *Engine) Wait(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		e.closing.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// jobDir is where the files of a job's trace are.
func (e *Engine) jobDir(ref executor.Ref) string { return filepath.Join(e.o.StateDir, "jobs", ref.ID) }

// counter counts the running jobs.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add(d int) {
	c.mu.Lock()
	c.n += d
	c.mu.Unlock()
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
