package poll

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// errGivenUp is the cause with which a request's context ends when the poller gives it up.
var errGivenUp = errors.New("the poller gave the request up")

// request is one open request. The Poller's mu guards given and sent.
type request struct {
	runner     *runner
	key        string    // of runner
	started    time.Time // when it got its slot
	sent       time.Time // when it was sent, after the delay for load
	lastUpdate string
	brief      bool // others wait for the slot, so lastUpdate was left out
	delay      time.Duration
	given      bool // up
	giveUp     func()
}

// settled is from when on giving q up loses no more than chance has it: a request that carries
// last_update is then held and not being answered, another has had time enough for its answer.
func (q *request) settled() time.Time {
	if q.lastUpdate != "" {
		return q.started.Add(q.delay + heldAfter)
	}
	return q.started.Add(q.delay + answerGrace)
}

// end gives q up, once. The caller holds the Poller's mu.
func (q *request) end() {
	if !q.given {
		q.given = true
		q.giveUp()
	}
}

// patient returns a context for one request, with the values of ctx, and the function that ends it.
// It does not end with ctx, since whether a job comes with the answer must still be learned; and once
// the answer's first byte has come, the rest has answerGrace to follow.
func patient(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	var answering atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { answering.Store(true) }})
	return ctx, func() {
		if answering.Load() {
			time.AfterFunc(answerGrace, func() { cancel(errGivenUp) })
			return
		}
		cancel(errGivenUp)
	}
}

// ask sends q and does what its answer asks for; for a job it returns when the job is over.
func (p *Poller) ask(ctx, reqCtx context.Context, q *request, do func(context.Context, string) (Answer, error)) {
	if err := p.hold(ctx, q); err != nil {
		p.finish(q, Answer{}, err)
		p.poke()
		return
	}
	p.observer.Asked(q.key)
	sent := time.Now()
	answer, err := do(reqCtx, q.lastUpdate)
	slot, o := p.finish(q, answer, err)
	p.observer.Answered(q.key, answer.Status, time.Since(sent), o != refused && o != failed)
	p.report(q, answer, err, o)
	if slot == nil {
		p.poke()
		return
	}
	p.observer.SlotChanged(q.key, true)
	p.poke()
	defer slot.Release()
	p.handle(ctx, q.key, answer.Payload, slot)
}

// hold waits for the delay under load. Nothing has been sent yet, so it ends with ctx.
func (p *Poller) hold(ctx context.Context, q *request) error {
	if q.delay > 0 {
		timer := time.NewTimer(q.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining || q.runner.leaving {
		q.given = true
		return errGivenUp
	}
	q.sent = time.Now()
	return nil
}

// finish closes q: its slot becomes the job's, or free.
func (p *Poller) finish(q *request, a Answer, err error) (*Slot, outcome) {
	random := p.jitter()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	r, o := q.runner, judge(now, q, a, err)
	delete(r.open, q)
	r.settle(now, q, a, o, p.interval, random)
	if o != aJob {
		p.used--
		if r.leaving {
			p.forget()
		}
		return nil, o
	}
	r.jobs++
	return &Slot{poller: p, runner: r, key: q.key, id: p.numbers.Take(q.key)}, o
}

// report writes to the operator's log what he may have to act on.
func (p *Poller) report(q *request, a Answer, err error, o outcome) {
	p.mu.Lock()
	r := q.runner
	log := p.log.With("runner", r.Short, "name", r.Name)
	resting, failures, wait := r.resting, r.failures, time.Until(r.next).Round(time.Millisecond)
	p.mu.Unlock()
	switch o {
	case aJob:
		log.Debug("got a job")
	case given:
		if a.Status == http.StatusCreated {
			log.Warn("a job was assigned while the request was being given up; the coordinator hands it out again", "error", err)
		}
	case refused:
		p.observer.Refused(q.key)
		if resting {
			log.Error("the coordinator refuses this runner (403), so it rests: it may be deleted, paused or its token revoked; "+
				"check it with the verify command", "rest", wait)
			return
		}
		log.Warn("the coordinator refused the request for a job (403)", "again_in", wait)
	case failed:
		attrs := []any{"status", a.Status, "failures", failures, "again_in", wait}
		if err != nil {
			attrs = append(attrs, "error", err)
		}
		log.Warn("asking for a job did not work", attrs...)
	case cut:
		log.Debug("a held request was cut off; asking again", "status", a.Status, "error", err)
	case nothing, conflict:
	}
}
