// Package status is the live read model of the runner: which jobs run in which stage, what the
// runners are doing and what has been counted so far. Engine, poller and client report to a Board
// through small methods, everything that shows something reads from it, and nothing of it is durable.
//
// The metrics have GitLab Runner's names, labels and buckets, so dashboards and alerts go on working.
// Labels: "runner" is the short token, "runner_name" the name in the configuration, "system_id" the
// identity of this installation.
package status

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
)

// Runner is one runner entry as the metrics show it.
type Runner struct {
	Key                string `json:"key"`      // the poller's
	Token              string `json:"token"`    // short: nothing of it is secret
	Name               string `json:"name"`     // in the configuration
	Executor           string `json:"executor"` // in the configuration
	Limit              int    `json:"limit"`
	RequestConcurrency int    `json:"request_concurrency"`
}

// Job is what is known of a job when it starts.
type Job struct {
	Ref     string    `json:"ref"` // the environment's; the key
	ID      int64     `json:"id"`
	URL     string    `json:"url"` // the job's page
	Name    string    `json:"name"`
	Project string    `json:"project"` // path
	Runner  Runner    `json:"runner"`
	Adopted bool      `json:"adopted"` // an earlier process started it: it is listed and not counted again
	Started time.Time `json:"started"`

	Queue job.Queue `json:"-"` // as the coordinator says
}

// The states of a job. Source: BuildRuntimeState in common/build.go of GitLab Runner.
const (
	StateRunning  = "running"
	StateSuccess  = "success"
	StateFailed   = "failed"
	StateCanceled = "canceled"
	StateTimedOut = "timedout"
)

// JobStatus is one job in a Snapshot.
type JobStatus struct {
	Job
	State        string        `json:"state"`
	Stage        job.StageName `json:"stage"` // empty before the first
	StageStarted time.Time     `json:"stage_started,omitzero"`
	Ended        time.Time     `json:"ended,omitzero"` // when the result was known; it is being delivered
	Result       *job.Result   `json:"result,omitempty"`
}

// Snapshot is the state at one moment. It is the reader's own.
type Snapshot struct {
	Concurrent int         `json:"concurrent"`
	Ready      bool        `json:"ready"`
	Runners    []Runner    `json:"runners"`
	Jobs       []JobStatus `json:"jobs"` // in the order in which they started
}

// Options describe the process.
type Options struct {
	SystemID string
	Build    Build
	Clock    func() time.Time // nil means time.Now
}

// Build says what program this is, for gitlab_runner_version_info.
type Build struct {
	Name, Version, Revision, Branch, BuiltAt string
}

// Board is the read model. Its methods may be called concurrently and do not block.
type Board struct {
	systemID string
	clock    func() time.Time
	metrics  *metrics
	ready    atomic.Bool

	mu         sync.Mutex
	concurrent int
	runners    []Runner
	jobs       map[string]*JobStatus
	requests   map[string]int // open requests for a job, by runner key
}

// New returns an empty Board that is not ready.
func New(opts Options) *Board {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	b := &Board{
		systemID: opts.SystemID, clock: opts.Clock,
		jobs: map[string]*JobStatus{}, requests: map[string]int{},
	}
	b.metrics = newMetrics(b, opts)
	return b
}

// SetRunners tells what is configured now. The Board keeps runners.
func (b *Board) SetRunners(concurrent int, runners []Runner) {
	b.mu.Lock()
	b.concurrent, b.runners = concurrent, runners
	b.mu.Unlock()
	for _, r := range runners {
		b.metrics.begin(b.labels(r))
	}
}

// SetReady says whether the runner takes jobs, for /health/ready.
func (b *Board) SetReady(ready bool) { b.ready.Store(ready) }

// JobStarted adds a job. A Started of zero means now.
func (b *Board) JobStarted(j Job) {
	if j.Started.IsZero() {
		j.Started = b.clock()
	}
	b.mu.Lock()
	b.jobs[j.Ref] = &JobStatus{Job: j, State: StateRunning}
	b.mu.Unlock()
	if !j.Adopted {
		b.metrics.jobStarted(b.labels(j.Runner), j)
	}
}

// StageEntered says that the job ref is in stage now. A ref that is not there is ignored, here and below.
func (b *Board) StageEntered(ref string, stage job.StageName) {
	now := b.clock()
	b.mu.Lock()
	j := b.jobs[ref]
	if j == nil || j.Stage == stage {
		b.mu.Unlock()
		return
	}
	last, since, runner := j.Stage, j.StageStarted, j.Runner
	j.Stage, j.StageStarted = stage, now
	b.mu.Unlock()
	if last != "" {
		b.metrics.stageLeft(b.labels(runner), last, now.Sub(since))
	}
}

// JobEnded says that the result of the job is known; it stays on the Board until JobOver. Only the first counts.
func (b *Board) JobEnded(ref string, r job.Result) {
	now := b.clock()
	b.mu.Lock()
	j := b.jobs[ref]
	if j == nil || j.Result != nil {
		b.mu.Unlock()
		return
	}
	j.Result, j.Ended, j.State = &r, now, endState(r)
	ended := *j
	b.mu.Unlock()
	if ended.Stage != "" {
		b.metrics.stageLeft(b.labels(ended.Runner), ended.Stage, now.Sub(ended.StageStarted))
	}
	b.metrics.jobEnded(b.labels(ended.Runner), r, now.Sub(ended.Started))
}

// JobOver takes the job off the Board: nothing of it is left to do in this process.
func (b *Board) JobOver(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs, ref)
}

// Snapshot returns the present state.
func (b *Board) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{Concurrent: b.concurrent, Ready: b.ready.Load(), Runners: slices.Clone(b.runners), Jobs: []JobStatus{}}
	for _, j := range b.jobs {
		c := *j
		if j.Result != nil {
			r := *j.Result
			c.Result = &r
		}
		s.Jobs = append(s.Jobs, c)
	}
	slices.SortFunc(s.Jobs, func(x, y JobStatus) int {
		if c := x.Started.Compare(y.Started); c != 0 {
			return c
		}
		return strings.Compare(x.Ref, y.Ref)
	})
	return s
}

// Asked, Answered, Refused and SlotChanged are what the poller reports, see poll.Observer.

// Asked counts a request for a job of the runner key.
func (b *Board) Asked(key string) {
	b.mu.Lock()
	b.requests[key]++
	b.mu.Unlock()
	b.metrics.feeds.WithLabelValues(b.lookup(key)...).Inc()
}

// Answered says that such a request is over; ok means that the answer was a job or none.
func (b *Board) Answered(key string, _ int, _ time.Duration, ok bool) {
	b.mu.Lock()
	if b.requests[key]--; b.requests[key] <= 0 {
		delete(b.requests, key)
	}
	b.mu.Unlock()
	if !ok {
		b.metrics.feedFailures.WithLabelValues(b.lookup(key)...).Inc()
	}
}

// Refused counts an answer of 403 to a request for a job.
func (b *Board) Refused(key string) { b.metrics.unhealthy.WithLabelValues(b.lookup(key)...).Inc() }

// SlotChanged counts a slot that a job takes or leaves.
func (b *Board) SlotChanged(_ string, held bool) {
	operation := "stopped"
	if held {
		operation = "started"
	}
	b.metrics.slotOperations.WithLabelValues(operation).Inc()
}

// RequestDone counts one request to the coordinator on behalf of the runner key. Endpoint is GitLab
// Runner's name ("request_job", "update_job", "patch_trace" …), method in any case; an empty one means
// the endpoint's. Status 0, no answer, is not counted, as in GitLab Runner.
func (b *Board) RequestDone(key, endpoint, method string, status int, took time.Duration) {
	if status == 0 {
		return
	}
	if method == "" {
		method = endpointMethod(endpoint)
	}
	b.metrics.requestDone(b.lookup(key)[0], b.systemID, endpoint, method, status, took)
}

// ConfigurationLoaded counts a reading of the configuration file, err being what it ended with.
func (b *Board) ConfigurationLoaded(err error) { count(err, b.metrics.loaded, b.metrics.loadErrors) }

// ConfigurationSaved counts a writing of the configuration file.
func (b *Board) ConfigurationSaved(err error) { count(err, b.metrics.saved, b.metrics.saveErrors) }

// labels returns runner, runner_name and system_id in a slice of its own.
func (b *Board) labels(r Runner) []string {
	if r.Token == "" {
		r.Token = r.Key
	}
	// Prometheus panics on labels that are not UTF-8.
	return []string{strings.ToValidUTF8(r.Token, "?"), strings.ToValidUTF8(r.Name, "?"), b.systemID}
}

// lookup returns the labels of the runner key; one that is not configured has its key for a name.
func (b *Board) lookup(key string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.runners {
		if r.Key == key {
			return b.labels(r)
		}
	}
	return b.labels(Runner{Key: key})
}

// openRequests returns the number of open requests by runner key.
func (b *Board) openRequests() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.requests)
}

func endState(r job.Result) string {
	switch {
	case r.State == job.Success:
		return StateSuccess
	case r.Reason == job.ReasonCanceled:
		return StateCanceled
	case r.Reason == job.ReasonTimeout:
		return StateTimedOut
	}
	return StateFailed
}
