package poll

import (
	"context"
	"time"
)

// idleWait is how long the scheduler sleeps with nothing due; every event wakes it.
const idleWait = time.Hour

// turn does what is due: it sends requests while slots are free and gives up those that must end. It
// returns when to come again at the latest, and whether polling is over.
func (p *Poller) turn(ctx context.Context) (wait time.Duration, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = p.draining || ctx.Err() != nil
	now := time.Now()
	p.queue(now)
	for p.used < p.concurrent {
		r := p.first()
		if r == nil {
			break
		}
		p.start(ctx, r, now)
		p.queueOne(r, now)
	}
	next := now.Add(idleWait)
	next = earlier(next, p.stop(now))
	next = earlier(next, p.share(now))
	for _, r := range p.runners {
		if r.next.After(now) && !p.draining && r.room() {
			next = earlier(next, r.next)
		}
	}
	return next.Sub(now), p.draining && p.openRequests() == 0
}

// queue gives a ticket to each runner that has begun to want a slot, and takes it from the others.
func (p *Poller) queue(now time.Time) {
	for _, r := range p.runners {
		p.queueOne(r, now)
	}
}

func (p *Poller) queueOne(r *runner, now time.Time) {
	switch {
	case p.draining || !r.wants(now):
		r.ticket = 0
	case r.ticket == 0:
		p.ticket++
		r.ticket, r.since = p.ticket, now
	}
}

// first returns the runner that has waited longest, nil when none waits.
func (p *Poller) first() *runner {
	var first *runner
	for _, r := range p.runners {
		if r.ticket != 0 && (first == nil || r.ticket < first.ticket) {
			first = r
		}
	}
	return first
}

// start sends a request for r.
func (p *Poller) start(ctx context.Context, r *runner, now time.Time) {
	q := &request{runner: r, key: r.Key, started: now, lastUpdate: r.lastUpdate}
	p.used++
	r.open[q] = struct{}{}
	r.ticket = 0
	q.brief = p.used >= p.concurrent && p.othersUnserved(r, now)
	if q.brief || now.Sub(r.fresh) >= freshAfter {
		q.lastUpdate = ""
	}
	if q.lastUpdate == "" {
		r.fresh = now
	}
	if p.jobs() > 0 {
		q.delay = loadDelay(p.load())
	}
	reqCtx, giveUp := patient(ctx)
	q.giveUp = giveUp
	do := r.Request
	p.work.Go(func() { p.ask(ctx, reqCtx, q, do) })
}

// othersUnserved reports whether a runner beside r has no request open although it may have one
// now or within CheckInterval.
func (p *Poller) othersUnserved(r *runner, now time.Time) bool {
	for _, other := range p.runners {
		if other != r && len(other.open) == 0 && other.room() && !other.next.After(now.Add(p.interval)) {
			return true
		}
	}
	return false
}

// stop gives up the requests of a poller that drains, of runners that leave and of those whose limit
// has become lower than what they hold. It returns when it is due again.
func (p *Poller) stop(now time.Time) time.Time {
	var next time.Time
	for _, r := range p.runners {
		if !p.draining && !r.leaving && (r.Limit <= 0 || r.held() <= r.Limit) {
			continue
		}
		for q := range r.open {
			if due := q.settled(); due.After(now) {
				next = earlier(next, due)
				continue
			}
			q.end()
		}
	}
	return next
}

// share gives up one held request when a runner has waited long enough and nothing but held
// requests and jobs has slots, or when Set has left fewer slots than are held. It returns when it
// is due again.
func (p *Poller) share(now time.Time) time.Time {
	if p.used <= p.concurrent {
		waiting := p.waitingSince()
		if p.used < p.concurrent || waiting.IsZero() {
			return time.Time{}
		}
		if due := waiting.Add(cutAfter); due.After(now) {
			return due
		}
	}
	victim, next := p.victim(now)
	if victim != nil {
		victim.end()
	}
	return next
}

// waitingSince is since when a runner that has no request open waits for a slot; zero when none does.
func (p *Poller) waitingSince() time.Time {
	var since time.Time
	for _, r := range p.runners {
		if r.ticket != 0 && len(r.open) == 0 {
			since = earlier(since, r.since)
		}
	}
	return since
}

// victim chooses the held request to give up: that of the runner whose last job is longest ago, and
// none while the slot of another request will be free in a moment. With none it says when to look again.
func (p *Poller) victim(now time.Time) (*request, time.Time) {
	var victim *request
	var next time.Time
	for _, r := range p.runners {
		for q := range r.open {
			if q.given || q.lastUpdate == "" {
				return nil, time.Time{}
			}
			if due := q.settled(); due.After(now) {
				next = earlier(next, due)
				continue
			}
			if victim == nil || r.lastJob.Before(victim.runner.lastJob) {
				victim = q
			}
		}
	}
	if !next.IsZero() {
		return nil, next
	}
	return victim, next
}

func (p *Poller) openRequests() int {
	n := 0
	for _, r := range p.runners {
		n += len(r.open)
	}
	return n
}

func (p *Poller) jobs() int {
	n := 0
	for _, r := range p.runners {
		n += r.jobs
	}
	return n
}

// loadDelay is how long to wait before asking under load.
func loadDelay(load float64) time.Duration {
	over := (min(load, 1) - loadThreshold) / (1 - loadThreshold)
	return time.Duration(max(0, over) * float64(maxLoadDelay))
}

// earlier returns the earlier of two times; a zero one does not count.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
