package daemon

import (
	"fmt"
	"sync"
	"time"
)

// Quota is after what a Daemon stops by itself, as run-single does; the zero value is never.
type Quota struct {
	Jobs int           // so many jobs have ended, adopted ones not counted; 0: any number
	Wait time.Duration // no job has come or run for so long; 0: for ever
}

// quota counts jobs. Its methods may be called concurrently.
type quota struct {
	limit Quota
	stop  func(why string)

	mu      sync.Mutex
	running int
	over    int
	timer   *time.Timer // runs while no job does
}

func newQuota(limit Quota, stop func(why string)) *quota { return &quota{limit: limit, stop: stop} }

// start begins to wait for the first job. The caller ends it with close.
func (q *quota) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.limit.Wait > 0 && q.timer == nil {
		q.timer = time.AfterFunc(q.limit.Wait, q.waited)
		if q.running > 0 {
			q.timer.Stop()
		}
	}
}

func (q *quota) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
	}
}

func (q *quota) waited() {
	q.mu.Lock()
	idle := q.running == 0
	q.mu.Unlock()
	if idle {
		q.stop(fmt.Sprintf("No job has come for %s: the runner ends", q.limit.Wait))
	}
}

// began says that a job has come.
func (q *quota) began() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running++
	if q.timer != nil {
		q.timer.Stop()
	}
}

// ended says that a job is over. It is called before the job's slot is free, so that nothing is asked for
// beyond the last job.
func (q *quota) ended(counted bool) {
	q.mu.Lock()
	q.running--
	if counted {
		q.over++
	}
	full := counted && q.limit.Jobs > 0 && q.over >= q.limit.Jobs
	if !full && q.timer != nil && q.running == 0 {
		q.timer.Reset(q.limit.Wait)
	}
	q.mu.Unlock()
	if full {
		q.stop(fmt.Sprintf("%d jobs have been run: the runner ends", q.limit.Jobs))
	}
}
