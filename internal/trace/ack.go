package trace

import (
	"context"
	"sync"
	"time"
)

// ackQueue holds the newest acknowledgement of each spool that has not been sent yet.
type ackQueue struct {
	mu      sync.Mutex
	pending []ack
	signal  chan struct{}
}

type ack struct {
	place, stage string
	to           int64
}

// wake returns the channel that tells that there is something to send.
func (q *ackQueue) wake() chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.signal == nil {
		q.signal = make(chan struct{}, 1)
	}
	return q.signal
}

func (q *ackQueue) put(a ack) {
	signal := q.wake()
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.pending); n > 0 && q.pending[n-1].place == a.place && q.pending[n-1].stage == a.stage {
		q.pending[n-1] = a
	} else {
		q.pending = append(q.pending, a)
	}
	select {
	case signal <- struct{}{}:
	default:
	}
}

func (q *ackQueue) take() []ack {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.pending
	q.pending = nil
	return p
}

// ackTime bounds one acknowledgement; it is only a courtesy to the agent's disk.
const ackTime = 10 * time.Second

// sendAcks acknowledges until ctx ends, and then what is left.
func (t *Trace) sendAcks(ctx context.Context, s Spools) {
	wake := t.acks.wake()
	for ctx.Err() == nil {
		select {
		case <-wake:
			t.flushAcks(ctx, s)
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTime)
	defer cancel()
	t.flushAcks(last, s)
}

func (t *Trace) flushAcks(ctx context.Context, s Spools) {
	for _, a := range t.acks.take() {
		actx, cancel := context.WithTimeout(ctx, ackTime)
		err := s.AckSpool(actx, a.place, a.stage, a.to)
		cancel()
		if err != nil {
			t.log.Debug("a stage's output was not acknowledged", "stage", a.stage, "to", a.to, "error", err)
		}
	}
}
