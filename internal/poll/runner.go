package poll

import (
	"net/http"
	"time"
)

// runner is what the poller knows of one runner. The Poller's mu guards it.
type runner struct {
	Runner
	leaving bool // no longer configured: only what it holds is waited for

	open  map[*request]struct{}
	jobs  int
	width int // requests it may have open now, 1 to RequestConcurrency

	next    time.Time // it asks no earlier
	backoff bool      // next stands for an error or a rest, which a job that ends does not cut short
	ticket  uint64    // place in the queue for slots, 0 when it wants none
	since   time.Time // of the ticket

	lastUpdate string
	fresh      time.Time // when it last asked without last_update
	lastJob    time.Time

	failures  int // errors in a row
	conflicts int // 409 in a row
	refusals  int // 403 in a row
	resting   bool

	quick   float64 // quick answers that were followed by a request at once; one per interval is forgotten
	quickAt time.Time
}

// configure takes conf over.
func (r *runner) configure(conf Runner, now time.Time) {
	if conf.RequestConcurrency < 1 {
		conf.RequestConcurrency = 1
	}
	if conf.UnhealthyLimit < 1 {
		conf.UnhealthyLimit = defaultUnhealthyLimit
	}
	if conf.UnhealthyInterval <= 0 {
		conf.UnhealthyInterval = defaultUnhealthyInterval
	}
	r.Runner = conf
	r.width = min(r.width, conf.RequestConcurrency)
	if r.resting {
		r.resting, r.refusals = false, 0
		r.ask(now)
	}
}

// held is how many slots it holds.
func (r *runner) held() int { return len(r.open) + r.jobs }

// room reports whether its own limits leave room for one more request.
func (r *runner) room() bool {
	return !r.leaving && len(r.open) < r.width && (r.Limit <= 0 || r.held() < r.Limit)
}

func (r *runner) wants(now time.Time) bool { return r.room() && !r.next.After(now) }

// ask makes it ask again at t.
func (r *runner) ask(t time.Time) { r.next, r.backoff = t, false }

// rest makes it ask again at t and not before, whatever happens.
func (r *runner) rest(t time.Time) { r.next, r.backoff = t, true }

// outcome says what an answer was.
type outcome int

const (
	nothing outcome = iota
	aJob
	conflict
	refused
	given // up by the poller
	cut   // while it was held, by something between here and the coordinator
	failed
)

// judge says what the answer to q was. A status counts more than an error beside it, which may be
// the client's way to say the same.
func judge(now time.Time, q *request, a Answer, err error) outcome {
	switch {
	case a.Status == http.StatusCreated && len(a.Payload) > 0:
		return aJob
	case a.Status == http.StatusNoContent:
		return nothing
	case a.Status == http.StatusConflict:
		return conflict
	case a.Status == http.StatusForbidden:
		return refused
	case q.given && err != nil:
		return given
	case q.lastUpdate != "" && now.Sub(q.sent) >= patience && gateway(a.Status):
		return cut
	}
	return failed
}

// gateway reports whether a status comes of something that would not wait any longer for the coordinator.
func gateway(status int) bool {
	switch status {
	case 0, http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// settle decides when r asks again after q ended in o. random is 0 to 1.
func (r *runner) settle(now time.Time, q *request, a Answer, o outcome, interval time.Duration, random float64) {
	r.resting = false
	switch o {
	case aJob:
		r.width = min(r.width+1, r.RequestConcurrency)
		r.lastUpdate, r.lastJob = "", now
		r.failures, r.conflicts, r.refusals, r.quick = 0, 0, 0, 0
		r.ask(now)
		if r.StrictCheckInterval {
			r.ask(now.Add(interval))
		}
		return
	case given:
		r.ask(now)
		return
	case cut: // the next is answered at once, and shows whether the coordinator is there
		r.lastUpdate = ""
		r.ask(now)
	case nothing:
		r.failures, r.conflicts, r.refusals = 0, 0, 0
		r.settleNothing(now, q, a, interval)
	case conflict:
		r.failures, r.refusals = 0, 0
		d := min(minConflict<<min(r.conflicts, 10), interval)
		r.conflicts++
		r.ask(now.Add(spread(d, random)))
	case refused:
		r.failures, r.conflicts = 0, 0
		r.refusals++
		r.rest(now.Add(interval))
		if r.refusals >= r.UnhealthyLimit {
			r.refusals, r.resting = 0, true
			r.rest(now.Add(r.UnhealthyInterval))
		}
	case failed:
		d := min(minBackoff<<min(r.failures, 10), maxBackoff)
		r.failures++
		r.refusals = 0
		r.rest(now.Add(max(spread(d, random), min(a.RetryAfter, maxRetryAfter))))
	}
	r.width = 1
}

// settleNothing decides after an answer without a job. Workhorse answers a request that it holds
// without last_update, both when it sees a change and when the time is over, so that the next
// request gets through to Rails; Rails sends the value it was sent back when nothing has changed.
// Source: workhorse/internal/builds/register.go and lib/api/ci/runner.rb of GitLab.
func (r *runner) settleNothing(now time.Time, q *request, a Answer, interval time.Duration) {
	unchanged := a.LastUpdate == q.lastUpdate
	if a.LastUpdate != "" {
		r.lastUpdate = a.LastUpdate
	}
	switch {
	case q.brief:
		r.ask(now.Add(interval))
	case now.Sub(q.sent) >= heldAfter:
		r.ask(now)
	case unchanged || !r.mayHurry(now, interval):
		r.ask(now.Add(interval))
	default:
		r.ask(now)
	}
}

// mayHurry reports whether one more quick answer may be followed by a request at once: maxQuick of them in
// a row, and in the long run one per interval, however often a busy queue changes.
func (r *runner) mayHurry(now time.Time, interval time.Duration) bool {
	r.quick = max(0, r.quick-float64(now.Sub(r.quickAt))/float64(interval))
	r.quickAt = now
	if r.quick > maxQuick-1 {
		return false
	}
	r.quick++
	return true
}

// spread returns between half of d and d.
func spread(d time.Duration, random float64) time.Duration {
	return d/2 + time.Duration(random*float64(d-d/2))
}
