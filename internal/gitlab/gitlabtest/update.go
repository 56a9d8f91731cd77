package gitlabtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
)

// jobCall authenticates a call about a job as GitLab's authenticate_job! does. It returns nil when
// it has answered. The caller holds mu.
func (c *Coordinator) jobCall(k *call.Call, token string) *record {
	header := k.Request.Header.Get(gitlab.HeaderJobToken)
	if header == "" {
		c.breach(breach.JobTokenHeader, k.Job, "%s %s: header %s is missing", k.Request.Method, k.Request.URL.Path, gitlab.HeaderJobToken)
	} else if token != "" && header != token {
		c.breach(breach.JobToken, k.Job, "%s %s: header %s differs from the body's token", k.Request.Method, k.Request.URL.Path, gitlab.HeaderJobToken)
	}
	if token == "" {
		token = header
	}
	j := c.jobs[k.Job]
	if j == nil {
		c.breach(breach.UnknownJob, k.Job, "%s %s: there is no such job", k.Request.Method, k.Request.URL.Path)
		k.Fail(http.StatusForbidden, "403 Forbidden")
		return nil
	}
	now := c.opts.Clock.Now()
	if c.byToken[token] != j {
		if token != "" {
			c.breach(breach.JobToken, k.Job, "%s %s: not a token of this job", k.Request.Method, k.Request.URL.Path)
		}
		k.Fail(http.StatusForbidden, "403 Forbidden")
		return nil
	}
	if token != j.token || c.tokenDead(j, now) {
		c.event(j, EventRefused, http.StatusForbidden, "the token is dead")
		k.Fail(http.StatusForbidden, "403 Forbidden") // bare: no Job-Status
		return nil
	}
	if j.processing() || (j.waitingAck && k.Endpoint == EndpointUpdate) {
		return j
	}
	c.notProcessing(k, j)
	return nil
}

// notProcessing answers a call about a job that is not, or no longer, the runner's.
func (c *Coordinator) notProcessing(k *call.Call, j *record) {
	switch {
	case j.waitingAck:
		c.breach(breach.NotRunning, j.id, "%s %s before the job was reported running", k.Request.Method, k.Request.URL.Path)
	case j.reported == "":
		// GitLab ended it, or gave it to somebody else; the runner learns it now
	case k.Endpoint == EndpointUpdate:
		if !j.mayRepeatFinal {
			c.breach(breach.SecondFinal, j.id, "state %s again after the accepted final state %s", k.State, j.reported)
		}
		j.mayRepeatFinal = false
	case !j.mayRepeatPatch:
		c.breach(breach.AfterEnd, j.id, "%s %s after the accepted final state %s", k.Request.Method, k.Request.URL.Path, j.reported)
	default:
		j.mayRepeatPatch = false
	}
	c.event(j, EventRefused, http.StatusForbidden, k.Endpoint)
	k.Header.Set(gitlab.HeaderJobStatus, j.status)
	k.Fail(http.StatusForbidden, "403 Forbidden - Job is not processing on runner")
}

// update is PUT /jobs/:id.
func (c *Coordinator) update(k *call.Call) {
	var u gitlab.Update
	if !c.decode(k, &u) {
		return
	}
	if u.Token == "" {
		c.breach(breach.Body, k.Job, "PUT %s: token is missing", k.Request.URL.Path)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobCall(k, u.Token)
	if j == nil {
		return
	}
	status := c.applyUpdate(j, &u)
	c.event(j, EventUpdate, status, describe(&u))
	k.Header.Set(gitlab.HeaderJobStatus, j.status)
	if status == http.StatusBadRequest {
		c.breach(breach.State, j.id, "state %q is not possible now (%s)", u.State, j.status)
	}
	k.Text(status)
}

func describe(u *gitlab.Update) string {
	if u.State != StatusFailed {
		return u.State
	}
	return fmt.Sprintf("%s %s %d", u.State, u.FailureReason, u.ExitCode)
}

// applyUpdate returns the status of the answer. Source: UpdateBuildStateService#execute.
func (c *Coordinator) applyUpdate(j *record, u *gitlab.Update) int {
	now := c.opts.Clock.Now()
	if j.waitingAck {
		switch u.State {
		case StatusPending:
			j.acked = now
			return http.StatusOK
		case StatusRunning:
			j.waitingAck = false
			j.status, j.started, j.touched = StatusRunning, now, now
			return http.StatusOK
		}
		return http.StatusBadRequest
	}
	switch u.State {
	case StatusRunning:
		c.touch(j, now)
		return http.StatusOK
	case StatusSuccess, StatusFailed:
		c.checkFinal(j, u)
		c.accept(j, u)
		return http.StatusOK
	}
	return http.StatusBadRequest
}

// checkFinal compares what the runner says of the log with what has arrived.
func (c *Coordinator) checkFinal(j *record, u *gitlab.Update) {
	size, sum := j.trace.State()
	want := fmt.Sprintf("crc32:%08x", sum)
	if u.Output.Checksum != want && (size > 0 || u.Output.Checksum != "") {
		c.breach(breach.Checksum, j.id, "final update says %q, the trace of %d bytes is %s", u.Output.Checksum, size, want)
	}
	if u.Output.Bytesize != size {
		c.breach(breach.Size, j.id, "final update says %d bytes, the trace has %d", u.Output.Bytesize, size)
	}
	if u.Checksum != "" && u.Checksum != u.Output.Checksum {
		c.breach(breach.Checksum, j.id, "checksum %q is not output.checksum %q", u.Checksum, u.Output.Checksum)
	}
	if u.State == StatusSuccess && (u.FailureReason != "" || u.ExitCode != 0) {
		c.breach(breach.State, j.id, "success with failure_reason %q and exit code %d", u.FailureReason, u.ExitCode)
	}
	if u.State == StatusFailed && u.FailureReason != "" && !slices.Contains(payload.FailureReasons(), u.FailureReason) {
		c.breach(breach.Reason, j.id, "failure_reason %q is not among those that the payload offers", u.FailureReason)
	}
}

// accept ends the job as the runner says; one that was being cancelled ends as canceled.
func (c *Coordinator) accept(j *record, u *gitlab.Update) {
	status, reason := u.State, u.FailureReason
	if status == StatusFailed && !slices.Contains(payload.FailureReasons(), reason) {
		reason = "unknown_failure"
	}
	if j.status == StatusCanceling {
		status = StatusCanceled
	}
	j.reported, j.reportedReason = u.State, u.FailureReason
	c.finish(j, status, reason, u.ExitCode, "")
}

// Cancel cancels the job as a user would: a running one whose runner can do it gracefully is
// canceling until the runner reports its end, any other is canceled at once.
func (c *Coordinator) Cancel(id int64) { c.cancelJob(id, false) }

// ForceCancel cancels the job at once.
func (c *Coordinator) ForceCancel(id int64) { c.cancelJob(id, true) }

func (c *Coordinator) cancelJob(id int64, force bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[id]
	if j == nil || finished(j.status) {
		return
	}
	if !force && j.status == StatusRunning && j.features.CancelGracefully {
		j.status = StatusCanceling
		c.event(j, EventCanceling, 0, "")
		return
	}
	c.finish(j, StatusCanceled, "", 0, "canceled")
}

// Drop ends a job on the server's side: calls about it get 403 with Job-Status from now on.
func (c *Coordinator) Drop(id int64, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.jobs[id]; j != nil && !finished(j.status) {
		c.finish(j, StatusFailed, reason, 0, "dropped")
	}
}

// KillToken makes the job's token invalid: calls about it get a bare 403, without Job-Status.
func (c *Coordinator) KillToken(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j := c.jobs[id]; j != nil {
		j.tokenKilled = true
	}
}

// finish gives the job its final state. The caller holds mu.
func (c *Coordinator) finish(j *record, status, reason string, exit int, why string) {
	c.queue = slices.DeleteFunc(c.queue, func(q *record) bool { return q == j })
	delete(c.active, j.id)
	j.waitingAck = false
	j.status, j.reason, j.exit, j.finished = status, reason, exit, c.opts.Clock.Now()
	detail := strings.TrimSpace(strings.Join([]string{status, reason, why}, " "))
	c.event(j, EventFinished, 0, detail)
	c.advance(j)
}

// event notes what happened to the job. The caller holds mu.
func (c *Coordinator) event(j *record, kind EventKind, status int, detail string) {
	j.events = append(j.events, Event{Time: c.opts.Clock.Now(), Kind: kind, Status: status, Detail: detail})
	close(j.changed)
	j.changed = make(chan struct{})
	if j.plan != nil {
		close(j.pipeline.changed)
		j.pipeline.changed = make(chan struct{})
	}
}

// Undelivered notes that the answer to a handled call will not arrive, so that the runner may
// legitimately do it again.
func (c hooks) Undelivered(k *call.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[k.Job]
	if j == nil {
		return
	}
	switch k.Endpoint {
	case EndpointTrace:
		j.mayRepeatPatch = true
	case EndpointUpdate:
		j.mayRepeatFinal = true
	}
}
