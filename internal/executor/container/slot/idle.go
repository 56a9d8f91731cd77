package slot

import (
	"context"
	"time"
)

// IdleFor is how long a slot that no job has is kept, unless it is the last one of its pool, and lastFor how
// long that is: a job after a quiet hour finds one, and a pool that no configuration needs any more empties.
const (
	IdleFor = 5 * time.Minute
	lastFor = 24 * time.Hour
)

// removeTime bounds the removal of slots that nobody used.
const removeTime = 2 * time.Minute

// arm lets idle slots be looked at when the first of them is old. The caller holds mu.
func (p *Pool) arm(now time.Time) {
	if p.timer != nil || p.closed || len(p.idle) == 0 {
		return
	}
	first := p.idle[0].since.Add(p.idleFor)
	if len(p.idle) == 1 {
		first = p.idle[0].since.Add(max(lastFor, p.idleFor))
	}
	p.timer = time.AfterFunc(max(first.Sub(now), 0), p.expire)
}

// disarm is called where the slots that are idle change. The caller holds mu.
func (p *Pool) disarm() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// expire removes the slots that have not been used for long.
func (p *Pool) expire() {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	if p.closed {
		return
	}
	n := aged(p.idle, now, p.idleFor)
	old := p.idle[:n:n]
	p.idle = p.idle[n:]
	p.arm(now)
	if len(old) == 0 {
		return
	}
	p.giving.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), removeTime)
		defer cancel()
		for _, s := range old {
			p.log.Debug("Removing a network that no job has used for a while", "network", s.Name)
			if err := p.remove(ctx, s.Name); err != nil {
				p.log.Warn("An unused network could not be removed; it is tried again at the next start", "network", s.Name, "error", err)
			}
		}
	})
}

// aged is how many of idle, which has the one that was used last at its end, have been idle for too long.
func aged(idle []Slot, now time.Time, limit time.Duration) int {
	n := 0
	for ; n < len(idle); n++ {
		if n == len(idle)-1 {
			limit = max(lastFor, limit)
		}
		if now.Sub(idle[n].since) < limit {
			break
		}
	}
	return n
}
