package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
)

// JobView is one job of this process as people see it.
type JobView struct {
	Ref      string // the environment's
	ID       int64
	Project  string // path
	Name     string
	GitRef   string
	Runner   string // its name
	Executor string
	Session  string // the address that the coordinator has for the web terminal; empty: none

	Started time.Time     // accepted
	Stage   job.StageName // empty before the first
	Since   time.Time     // when the job came into Stage, ended, or began to be kept
	Result  *job.Result   // nil while the job runs
	Kept    time.Time     // until when its environment is kept; zero: it is not
}

// ErrNoJob says that this process has no such job.
var ErrNoJob = errors.New("this runner has no such job now; `skerry jobs` lists those that it has")

// AmbiguousError says that an id is that of several jobs, of several coordinators.
type AmbiguousError struct {
	ID   string
	Refs []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s is the id of several jobs, of different GitLab instances; name one by its ref: %s", e.ID, e.Refs)
}

// live are the jobs of this process.
type live struct {
	mu      sync.Mutex
	jobs    map[string]*execution
	leaving chan struct{} // closed when kept environments are left to the next process
	left    bool
}

func newLive() live { return live{jobs: map[string]*execution{}, leaving: make(chan struct{})} }

func (l *live) add(x *execution) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jobs[x.rec.Ref] = x
}

func (l *live) remove(x *execution) {
	l.mu.Lock()
	delete(l.jobs, x.rec.Ref)
	l.mu.Unlock()
	x.guests.end()
	x.view.leave()
}

func (l *live) all() []*execution {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*execution, 0, len(l.jobs))
	for _, x := range l.jobs {
		out = append(out, x)
	}
	return out
}

// find finds a job by its ref, the id in it, or the coordinator's id.
func (l *live) find(id string) (*execution, error) {
	var found []*execution
	for _, x := range l.all() {
		if x.rec.Ref == id || x.ref.ID == id {
			return x, nil
		}
		if strconv.FormatInt(x.rec.JobID, 10) == id {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 0:
		return nil, ErrNoJob
	case 1:
		return found[0], nil
	}
	e := &AmbiguousError{ID: id}
	for _, x := range found {
		e.Refs = append(e.Refs, x.ref.ID)
	}
	slices.Sort(e.Refs)
	return nil, e
}

// Jobs lists the jobs of this process, those first that were accepted first.
func (e *Engine) Jobs() []JobView {
	var out []JobView
	for _, x := range e.live.all() {
		out = append(out, x.show())
	}
	slices.SortFunc(out, func(a, b JobView) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (x *execution) show() JobView {
	j := x.plan.Job
	v := JobView{
		Ref: x.rec.Ref, ID: j.ID, Project: j.ProjectPath, Name: j.Name, GitRef: j.Git.Ref, Session: j.SessionURL,
		Runner: x.plan.Runner.Name, Executor: x.plan.Runner.Executor, Started: x.clock.Accepted,
	}
	x.view.mu.Lock()
	defer x.view.mu.Unlock()
	v.Stage, v.Since, v.Result, v.Kept = x.view.stage, x.view.since, x.view.result, x.view.kept
	if v.Since.IsZero() {
		v.Since = v.Started
	}
	return v
}

// view is what others may see of a job while its own goroutine goes on.
type view struct {
	mu     sync.Mutex
	stage  job.StageName
	since  time.Time
	result *job.Result
	kept   time.Time
	freed  chan struct{} // closed when the user wants no more of the kept environment
	ended  chan struct{} // closed when result is set
	gone   chan struct{} // closed when this process has nothing more to do with the job
}

func newView() view {
	return view{freed: make(chan struct{}), ended: make(chan struct{}), gone: make(chan struct{})}
}

func (v *view) enter(name job.StageName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stage != name {
		v.stage, v.since = name, time.Now()
	}
}

func (v *view) end(r job.Result) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.result == nil {
		v.result, v.since = &r, time.Now()
		close(v.ended)
	}
}

func (v *view) keep(until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept, v.since = until, time.Now()
}

// free ends the keeping, if it has begun.
func (v *view) free() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kept.IsZero() {
		return false
	}
	select {
	case <-v.freed:
	default:
		close(v.freed)
	}
	return true
}

func (v *view) leave() { close(v.gone) }
