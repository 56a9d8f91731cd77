// Package fault is a programme of failures for an HTTP server: which requests fail, how often and
// how. The server tells it what each request is about.
//
// What the development coordinator can be made to do, with its endpoint names:
//
//	{Endpoint: "request", Status: 503, Count: 3}                          three times unavailable
//	{Endpoint: "trace", Status: 429, Header: {"Retry-After": {"2"}}}       rate limit
//	{Endpoint: "request", Handle: true, Cut: true}                         the 201 that never arrives
//	{Endpoint: "update", State: Final, Handle: true, Cut: true}            handled, but unanswered
//	{Endpoint: "update", State: Final, Status: 202}                        the log is still being stored
//	{Endpoint: "update", State: Final, Status: 412, Lose: true}            the log is lost: send it again from 0
//	{Endpoint: "trace", Status: 416, Lose: true, Truncate: 100}            only 100 bytes are left: go on from there
//	{Endpoint: "trace", Wait: 10 * time.Minute, Cut: true}                 silence for (scaled) minutes
//	{Endpoint: "download", Slow: 1000} or {…, Partial: 100}                a slow, or a cut, artifact
package fault

import (
	"net/http"
	"sync"
	"time"
)

// Fault is one failure to inject. The zero values of the selecting fields match everything; those
// of the others mean that nothing of the kind happens. Where several faults match a request, the
// one that was added first and is not used up is taken.
type Fault struct {
	Endpoint string // of the request, see the server's endpoint names
	Job      int64
	State    string // of the request: the reported state of a job update, or Final
	Skip     int    // let so many matching requests through first
	Count    int    // how many requests to hit; 0 means 1, negative all

	// Handle lets the server handle the request before the failure; without it the request has no effect.
	Handle bool
	// Wait holds the request back for so long (the server's scaled time), or until the client or the
	// server goes away.
	Wait time.Duration
	// Cut ends the connection without an answer.
	Cut bool
	// Status replaces the answer's status; 0 leaves the real answer (a mere Wait or Slow).
	Status int
	Header http.Header
	Body   string
	// Truncate makes the server lose the job's trace from this offset on before it answers, when Lose is set.
	Lose     bool
	Truncate int64
	// Slow sends the answer's body, and reads the request's (but not a job update's), at so many bytes a second.
	Slow int
	// Partial sends only so many bytes of the answer's body and then cuts the connection.
	Partial int64
	// Then is called after the fault took effect, without any lock held.
	Then func()
	// Do is called like Then, with the job that the request was about, or that it was answered with; 0 for none.
	Do func(job int64)
}

// Final is a State that stands for both final ones, success and failed.
const Final = "final"

// Handle follows one added fault.
type Handle struct {
	mu   sync.Mutex
	hits int
	hit  chan struct{}
}

// Hits says how many requests the fault has hit.
func (h *Handle) Hits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits
}

// Hit is closed when the fault hit its first request.
func (h *Handle) Hit() <-chan struct{} { return h.hit }

func (h *Handle) count() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hits++; h.hits == 1 {
		close(h.hit)
	}
}

type entry struct {
	Fault
	left   int
	handle *Handle
}

// Plan is a list of faults. Its zero value is empty and usable, also concurrently.
type Plan struct {
	mu      sync.Mutex
	entries []*entry
}

// Add appends f.
func (p *Plan) Add(f Fault) *Handle {
	h := &Handle{hit: make(chan struct{})}
	left := f.Count
	if left == 0 {
		left = 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries = append(p.entries, &entry{Fault: f, left: left, handle: h})
	return h
}

// Clear removes every fault.
func (p *Plan) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries = nil
}

// Take returns the fault for a request, nil for none, and counts it.
func (p *Plan) Take(endpoint string, job int64, state string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, e := range p.entries {
		if !e.matches(endpoint, job, state) {
			continue
		}
		if e.Skip > 0 {
			e.Skip--
			continue
		}
		if e.left > 0 {
			e.left--
		}
		if e.left == 0 {
			p.entries = append(p.entries[:i:i], p.entries[i+1:]...)
		}
		e.handle.count()
		f := e.Fault
		return &f
	}
	return nil
}

func (e *entry) matches(endpoint string, job int64, state string) bool {
	return (e.Endpoint == "" || e.Endpoint == endpoint) && (e.Job == 0 || e.Job == job) && (e.State == "" || e.State == state || (e.State == Final && (state == "success" || state == "failed")))
}
