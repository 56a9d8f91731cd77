package supervisor

import "time"

// Backoff says how long a program that has ended waits for its next start. The zero value never waits.
type Backoff struct {
	First   time.Duration // after the first end; each further one doubles it
	Most    time.Duration
	Settled time.Duration // a program that has lived so long begins with First again

	next time.Duration
}

// after returns how long to wait when the program has lived so long this time.
func (b *Backoff) after(lived time.Duration) time.Duration {
	if b.next == 0 || lived >= b.Settled {
		b.next = b.First
	}
	wait := min(b.next, b.Most)
	b.next = min(2*b.next, b.Most)
	return wait
}
