// Package clock is the time of the development coordinator: real, or moved by a test.
package clock

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

// Real is the machine's clock.
type Real struct{}

// Now returns the machine's time.
func (Real) Now() time.Time { return time.Now() }

// After is time.After with a way to stop it.
func (Real) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// Manual is a Clock that moves only when told to. Its methods may be called concurrently.
type Manual struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[chan time.Time]time.Time
}

// NewManual returns a clock that stands at now.
func NewManual(now time.Time) *Manual {
	return &Manual{now: now, waiters: map[chan time.Time]time.Time{}}
}

// Now returns the clock's time.
func (c *Manual) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After returns a channel that gets the time when Advance has moved the clock by d.
func (c *Manual) After(d time.Duration) (<-chan time.Time, func()) {
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
func (c *Manual) Advance(d time.Duration) {
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
