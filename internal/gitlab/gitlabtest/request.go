package gitlabtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
)

// request is POST /jobs/request. What Workhorse does comes first: it holds a request whose
// last_update is current, and answers 204 without a queue value when the time is over or when it
// saw a change; the runner asks again at once and then finds its last_update outdated.
func (c *Coordinator) request(k *call.Call) {
	var req gitlab.JobRequest
	if !c.decode(k, &req) {
		return
	}
	c.runnerToken(k, req.Token)
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.authenticate(k, req.Token, req.SystemID, &req.Info)
	if r == nil {
		return
	}
	if req.LastUpdate != "" && !r.versions[req.LastUpdate] {
		c.breach(breach.LastUpdate, 0, "POST %s: last_update %q was never given to this runner", k.Request.URL.Path, req.LastUpdate)
	}
	if req.LastUpdate != "" && req.LastUpdate == r.version && c.opts.LongPoll > 0 {
		c.longPoll(k, r)
		return
	}
	k.Header.Set(gitlab.HeaderLastUpdate, r.version)
	if req.LastUpdate == r.version || r.Paused {
		k.Status = http.StatusNoContent
		return
	}
	j := c.pick(r, &req)
	if j == nil {
		k.Status = http.StatusNoContent
		return
	}
	k.Header.Del(gitlab.HeaderLastUpdate)
	c.handOut(k, j, r, &req)
}

// longPoll waits without mu, which the caller holds.
func (c *Coordinator) longPoll(k *call.Call, r *runner) {
	bumped := r.bumped
	c.holding(1)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.holding(-1)
	}()
	over, stop := c.opts.Clock.After(c.opts.LongPoll)
	defer stop()
	select {
	case <-bumped:
	case <-over:
	case <-k.Request.Context().Done():
	case <-c.closing:
	}
	k.Status = http.StatusNoContent
}

// holding counts the requests that are held open. The caller holds mu.
func (c *Coordinator) holding(n int) {
	c.held += n
	close(c.heldChanged)
	c.heldChanged = make(chan struct{})
}

// WaitHeld returns when n job requests or more are held open by long polling.
func (c *Coordinator) WaitHeld(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		held, changed := c.held, c.heldChanged
		c.mu.Unlock()
		if held >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d job requests are held open: %w", held, n, context.Cause(ctx))
		case <-c.closing:
			return errors.New("the coordinator is closed")
		}
	}
}

// pick takes the oldest job that the runner may run out of the queue. A job that the runner lacks
// a feature for fails, as in GitLab. The caller holds mu.
func (c *Coordinator) pick(r *runner, req *gitlab.JobRequest) *record {
	for i := 0; i < len(c.queue); i++ {
		j := c.queue[i]
		if !r.takes(j) {
			continue
		}
		c.queue = slices.Delete(c.queue, i, i+1)
		if lacks := j.spec.Lacks(&req.Info.Features); lacks != "" {
			c.finish(j, StatusFailed, "runner_unsupported", 0, "the runner lacks the feature "+lacks)
			i = -1 // finishing may have queued others
			continue
		}
		return j
	}
	return nil
}

// handOut gives the job to the runner. The caller holds mu.
func (c *Coordinator) handOut(k *call.Call, j *record, r *runner, req *gitlab.JobRequest) {
	now := c.opts.Clock.Now()
	k.Job = j.id
	j.token = "glcbt-" + random(16)
	c.byToken[j.token] = j
	j.runner, j.systemID, j.features = r.ID, req.SystemID, req.Info.Features
	j.session = req.Session
	j.timeout = j.spec.Timeout
	if r.MaximumTimeout > 0 {
		j.timeout = min(j.timeout, r.MaximumTimeout)
	}
	j.handed, j.acked, j.touched = now, now, now
	j.tokenKilled = false
	if c.twoPhase(&req.Info.Features) {
		j.waitingAck = true
	} else {
		j.status, j.started = StatusRunning, now
	}
	c.active[j.id] = j
	c.event(j, EventHandedOut, http.StatusCreated, "")
	p := c.payload(j, r)
	if j.spec.Edit != nil {
		j.spec.Edit(&p)
	}
	k.Status = http.StatusCreated
	k.Header.Set("Content-Type", "application/json")
	if j.spec.Body != nil {
		k.Answer = j.spec.Body(p)
	} else {
		k.Answer, _ = json.Marshal(p) // our own types, which marshal
	}
}

func (c *Coordinator) twoPhase(f *gitlab.Features) bool {
	return f.TwoPhaseJobCommit && !c.opts.OnePhase
}

// enqueue makes the job pending and tells the runners that could take it. The caller holds mu.
func (c *Coordinator) enqueue(j *record) {
	j.status, j.queued = StatusPending, c.opts.Clock.Now()
	c.queue = append(c.queue, j)
	c.event(j, EventQueued, 0, "")
	for _, r := range c.runners {
		if r.takes(j) {
			r.bump()
		}
	}
}

// requeue gives a job that was handed out to somebody else. The caller holds mu.
func (c *Coordinator) requeue(j *record) {
	j.waitingAck = false
	delete(c.active, j.id)
	c.enqueue(j)
}
