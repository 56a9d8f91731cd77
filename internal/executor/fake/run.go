package fake

import (
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

// run is a stage at its agent: its spool and its result.
type run struct {
	at    int64
	ended chan struct{} // closed when it is to end early
	done  chan struct{} // closed when result holds

	mu      sync.Mutex
	cancel  *wire.Cancel
	bytes   []byte // the spool
	acked   int64
	closed  bool // nothing will be added
	noEnd   bool // the spool stays open; set by the stage before it returns
	changed chan struct{}
	result  stage.Result
}

func newRun() *run {
	return &run{at: time.Now().UnixMicro(), ended: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{})}
}

func (r *run) append(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes = append(r.bytes, b...)
	close(r.changed)
	r.changed = make(chan struct{})
}

// perform runs the action and records how it ended.
func (r *run) perform(s *Stage, do Action) {
	var res stage.Result
	if do != nil {
		res = do(s)
	}
	if !r.noEnd {
		r.append(spool.Append(nil, time.Now().UnixMicro(), spool.End, nil))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = !r.noEnd
	if res.Started == 0 {
		res.Started = r.at
	}
	if res.Ended == 0 {
		res.Ended = time.Now().UnixMicro()
	}
	r.result = res
	close(r.done)
	close(r.changed)
	r.changed = make(chan struct{})
}

// end asks the stage to end early; the first reason stays.
func (r *run) end(c wire.Cancel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel == nil {
		r.cancel = &c
		close(r.ended)
	}
}

func (r *run) cancelReason() stage.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel == nil || r.cancel.Reason == "" {
		return stage.Canceled
	}
	return r.cancel.Reason
}

// next returns the spool's bytes from offset from, whether that is all there will be, and a channel
// that is closed when there is more. ok is false for an offset that the spool does not have.
func (r *run) next(from int64) (b []byte, over bool, more <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if from < r.acked || from > int64(len(r.bytes)) {
		return nil, false, nil, false
	}
	return r.bytes[from:len(r.bytes):len(r.bytes)], r.closed, r.changed, true
}

func (r *run) ack(to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked = max(r.acked, min(to, int64(len(r.bytes))))
}
