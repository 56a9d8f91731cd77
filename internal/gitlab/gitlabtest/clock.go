package gitlabtest

import (
	"sync"
	"time"
)

// Clock is a source of time.
type Clock interface {
	Now() time.Time
	// After returns a channel that gets the time once d has passed, and a function that gives it up.
	After(d time.Duration) (<-chan time.Time, func())
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// ManualClock is a Clock that moves only when told to. Its methods may be called concurrently.
type ManualClock struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[chan time.Time]time.Time
}

// NewManualClock returns a clock that stands at now.
func NewManualClock(now time.Time) *ManualClock {
	return &ManualClock{now: now, waiters: map[chan time.Time]time.Time{}}
}

// Now returns the clock's time.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After returns a channel that gets the time when Advance has moved the clock by d.
func (c *ManualClock) After(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.waiters[ch] = c.now.Add(d)
	return ch, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiters, ch)
	}
}

// Advance moves the clock by d. Call Coordinator.Sweep afterwards to have GitLab's clocks enforced
// before the next line of the test.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.waiters {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.waiters, ch)
		}
	}
}

// Sweep drops every job that GitLab's clocks have ended. It runs by itself too, at least twenty
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
	step := c.opts.scaled(min(l.Stuck, l.Overdue, l.Token, l.Pending)) / 20
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
