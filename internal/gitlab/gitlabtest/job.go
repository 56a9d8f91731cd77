package gitlabtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/pipeline"
)

// The states of a job, in GitLab's words.
const (
	StatusCreated   = "created"   // waits for others
	StatusManual    = "manual"    // waits for Play
	StatusScheduled = "scheduled" // waits for its time, or for Play
	StatusSkipped   = "skipped"   // will not run
	StatusPending   = "pending"   // waits for a runner, or for a runner's acknowledgement
	StatusRunning   = "running"   // a runner has it
	StatusCanceling = "canceling" // a runner has it and is to end it gracefully
	StatusSuccess   = "success"
	StatusFailed    = "failed"
	StatusCanceled  = "canceled"
)

// JobSpec is a job as AddJob takes it. The zero value is a job that runs nothing.
type JobSpec = payload.Spec

// EventKind names something that happened to a job.
type EventKind string

// The events.
const (
	EventManual    EventKind = "manual"
	EventScheduled EventKind = "scheduled"
	EventQueued    EventKind = "queued"
	EventHandedOut EventKind = "handed-out"
	EventRequeued  EventKind = "requeued"
	EventUpdate    EventKind = "update" // Detail: the reported state, reason and exit code
	EventPatch     EventKind = "patch"  // Detail: OFFSET+LENGTH
	EventUpload    EventKind = "upload"
	EventDownload  EventKind = "download" // of this job's artifacts
	EventRefused   EventKind = "refused"
	EventCanceling EventKind = "canceling"
	EventFinished  EventKind = "finished"
)

// Event is one thing that happened to a job.
type Event struct {
	Time   time.Time
	Kind   EventKind
	Status int // of the answer; 0 where there was none
	Detail string
}

// Job is a snapshot of a job.
type Job struct {
	ID           int64
	Name         string
	Stage        string
	Pipeline     int64
	Status       string
	Reason       string // failure_reason
	ExitCode     int
	AllowFailure bool   // its failure does not fail the pipeline
	Reported     string // the final state that the runner reported; empty when it has not, or GitLab ended the job
	Runner       int64
	SystemID     string
	Token        string // of the last handout; secret
	Retries      int    // how often it was retried before; each try is a job of its own
	TraceSize    int64
	TraceSum     uint32 // CRC-32, IEEE
	Artifacts    []Artifact
	Dotenv       []jobpayload.Variable
	Events       []Event

	Created, Queued, HandedOut, Started, Finished time.Time // zero when it has not happened
}

// Over says whether the job has reached its final state.
func (j Job) Over() bool { return finished(j.Status) }

func finished(status string) bool {
	switch status {
	case StatusSuccess, StatusFailed, StatusCanceled, StatusSkipped:
		return true
	}
	return false
}

// record is a job on the coordinator's side; Coordinator.mu guards it, trace has its own lock.
type record struct {
	id       int64
	spec     JobSpec
	pipeline *run
	manual   bool          // started by Play
	plan     *pipeline.Job // nil for AddJob
	trace    *store.Log

	status, reason           string
	exit                     int
	reported, reportedReason string
	token                    string
	tokenKilled              bool
	runner                   int64
	systemID                 string
	features                 gitlab.Features
	session                  *gitlab.Session // that the request offered
	waitingAck               bool
	timeout                  time.Duration
	retries                  int
	artifacts                map[string]*Artifact
	dotenv                   []jobpayload.Variable
	events                   []Event
	changed                  chan struct{} // closed and replaced with every event

	// What a fault or a killed runner has made legitimate, once.
	mayRepeatPatch, mayRepeatFinal, mayResume bool

	created, due, queued, handed, acked, started, touched, finished time.Time
}

func (j *record) processing() bool {
	return j.status == StatusRunning || j.status == StatusCanceling
}

// AddJob queues a job of its own, without a pipeline, and returns its id.
func (c *Coordinator) AddJob(ctx context.Context, spec JobSpec) (int64, error) {
	pl, err := c.commitOf(ctx, spec.Project, spec.Ref)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.newRecord(spec, pl)
	c.enqueue(j)
	return j.id, nil
}

// newRecord makes a job that nobody waits for yet. The caller holds mu.
func (c *Coordinator) newRecord(spec JobSpec, pl *run) *record {
	if spec.Name == "" {
		spec.Name = "job"
	}
	if spec.Stage == "" {
		spec.Stage = "test"
	}
	if spec.Timeout == 0 {
		spec.Timeout = defaultTimeout
	}
	j := &record{
		id: c.id(), spec: spec, pipeline: pl, status: StatusCreated, created: c.opts.Clock.Now(),
		artifacts: map[string]*Artifact{}, timeout: spec.Timeout, changed: make(chan struct{}),
	}
	j.trace = store.NewLog(c.opts.Traces, c.TraceFile(j.id))
	c.jobs[j.id] = j
	c.order = append(c.order, j.id)
	return j
}

// Job returns a snapshot of a job, and whether there is such a job.
func (c *Coordinator) Job(id int64) (Job, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[id]
	if j == nil {
		return Job{}, false
	}
	return j.snapshot(), true
}

// Session is the web terminal that the runner offered with its request for a job, while the job runs; false when there is none.
// Source: Ci::BuildRunnerSession.
func (c *Coordinator) Session(id int64) (gitlab.Session, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[id]
	if j == nil || j.session == nil || j.status != StatusRunning {
		return gitlab.Session{}, false
	}
	return *j.session, true
}

// Jobs returns snapshots of all jobs, in the order of their ids.
func (c *Coordinator) Jobs() []Job {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Job, 0, len(c.order))
	for _, id := range c.order {
		all = append(all, c.jobs[id].snapshot())
	}
	return all
}

func (j *record) snapshot() Job {
	s := Job{
		ID: j.id, Name: j.spec.Name, Stage: j.spec.Stage, Status: j.status, Reason: j.reason, ExitCode: j.exit,
		AllowFailure: j.mayFail(), Reported: j.reported, Runner: j.runner, SystemID: j.systemID, Token: j.token, Retries: j.retries,
		Dotenv: slices.Clone(j.dotenv), Events: slices.Clone(j.events),
		Created: j.created, Queued: j.queued, HandedOut: j.handed, Started: j.started, Finished: j.finished,
	}
	if j.pipeline != nil {
		s.Pipeline = j.pipeline.ID
	}
	s.TraceSize, s.TraceSum = j.trace.State()
	for _, name := range slices.Sorted(maps.Keys(j.artifacts)) {
		s.Artifacts = append(s.Artifacts, *j.artifacts[name])
	}
	return s
}

// mayFail says whether the job's failure is allowed.
func (j *record) mayFail() bool {
	return j.spec.AllowFailure || (j.status == StatusFailed && slices.Contains(j.spec.AllowExitCodes, j.exit))
}

// Wait returns the job once it has reached its final state.
func (c *Coordinator) Wait(ctx context.Context, id int64) (Job, error) {
	return c.waitFor(ctx, id, func(j *record) (Job, bool) {
		if !finished(j.status) {
			return Job{}, false // no snapshot for every patch of a long log
		}
		return j.snapshot(), true
	}, Job.Over)
}

// WaitFor returns the job once cond is true of it. Cond sees it after its events, several at once
// where they come quickly.
func (c *Coordinator) WaitFor(ctx context.Context, id int64, cond func(Job) bool) (Job, error) {
	return c.waitFor(ctx, id, func(j *record) (Job, bool) { return j.snapshot(), true }, cond)
}

func (c *Coordinator) waitFor(ctx context.Context, id int64, look func(*record) (Job, bool), cond func(Job) bool) (Job, error) {
	for {
		c.mu.Lock()
		j := c.jobs[id]
		if j == nil {
			c.mu.Unlock()
			return Job{}, fmt.Errorf("no job %d", id)
		}
		s, worth := look(j)
		status, changed := j.status, j.changed
		c.mu.Unlock()
		if worth && cond(s) {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s, fmt.Errorf("job %d is %s: %w", id, status, context.Cause(ctx))
		case <-c.closing:
			return s, fmt.Errorf("job %d is %s and the coordinator is closed", id, status)
		}
	}
}
