package gitlabtest

import (
	"time"
)

// Sweep drops every job that GitLab's clocks have ended, and starts delayed ones whose time has come. It runs by itself too, at least twenty
// times within the shortest of the limits.
func (c *Coordinator) Sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Clock.Now()
	for _, j := range c.active {
		c.sweepJob(j, now)
	}
}

func (c *Coordinator) sweepJob(j *record, now time.Time) {
	l := &c.opts.Limits
	switch {
	case j.status == StatusPending && j.waitingAck:
		if now.Sub(j.acked) >= c.opts.scaled(l.Pending) {
			c.event(j, EventRequeued, 0, "not acknowledged in time")
			c.requeue(j)
		}
	case j.status == StatusScheduled:
		if !now.Before(j.due) {
			c.start(j)
		}
	case !j.processing():
	case now.Sub(j.touched) >= c.opts.scaled(l.Stuck):
		c.finish(j, StatusFailed, "stuck_or_timeout_failure", 0, "dropped: no update for too long")
	case now.Sub(j.started) >= c.opts.scaled(j.timeout+l.Overdue):
		c.finish(j, StatusFailed, "job_execution_timeout", 0, "dropped: long past its timeout")
	}
}

// tokenDead says whether the job's token has expired (a JWT lives 5 min longer than the timeout).
func (c *Coordinator) tokenDead(j *record, now time.Time) bool {
	if j.tokenKilled {
		return true
	}
	return j.processing() && now.Sub(j.started) >= c.opts.scaled(j.timeout+c.opts.Limits.Token)
}

// touch notes an update. GitLab writes it down only when the last one is old enough.
func (c *Coordinator) touch(j *record, now time.Time) {
	if now.Sub(j.touched) > c.opts.scaled(c.opts.Limits.Touch) {
		j.touched = now
	}
}

func (c *Coordinator) sweepLoop() {
	defer c.wg.Done()
	l := c.opts.Limits
	const coarsest = time.Second // for delayed jobs
	step := min(c.opts.scaled(min(l.Stuck, l.Overdue, l.Token, l.Pending))/20, coarsest)
	for {
		tick, stop := c.opts.Clock.After(max(step, time.Millisecond))
		select {
		case <-tick:
			c.Sweep()
		case <-c.closing:
			stop()
			return
		}
	}
}
