package slot

import (
	"context"
	"time"
)

// waitTime is how long a slot is waited for that is being given back: about as long as it takes to make one.
const waitTime = 300 * time.Millisecond

// Take takes a slot that is there. While one is coming that nobody else waits for, it waits a little: to make another
// costs the engine more than the rest of the job, and it would be one too many. It returns false when there is none.
func (p *Pool) Take(ctx context.Context) (Slot, bool) {
	timer := time.NewTimer(waitTime)
	defer timer.Stop()
	for {
		s, there, changed := p.takeOrWait()
		if there || changed == nil {
			return s, there
		}
		again := false
		select {
		case <-changed:
			again = true
		case <-timer.C:
		case <-ctx.Done():
		}
		p.mu.Lock()
		p.waiting--
		p.mu.Unlock()
		if !again {
			return Slot{}, false
		}
	}
}

// takeOrWait takes a slot, or counts the caller among those that wait; changed is closed when something has come of
// what they wait for. Without a slot and with changed nil there is nothing to wait for.
func (p *Pool) takeOrWait() (s Slot, there bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n > 0 {
		s = p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.disarm()
		p.arm(time.Now())
		return s, true, nil
	}
	if p.closed || p.waiting >= len(p.coming) {
		return Slot{}, false, nil
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	p.waiting++
	return Slot{}, false, p.changed
}

// Coming says that the job of the slot name is over, and that Give follows when its containers are gone, or Stays.
func (p *Pool) Coming(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.coming[name] = true
}

// Stays takes back what Coming said: the containers cannot be removed.
func (p *Pool) Stays(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.coming, name)
	p.tell()
}

// tell wakes those who wait. The caller holds mu.
func (p *Pool) tell() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}
