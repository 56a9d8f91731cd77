package call

import (
	"net/http"
	"sync"
	"time"
)

// Gate counts the requests in hand. Its zero value is ready.
type Gate struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n becomes 0 and somebody waits
}

// Handler counts the requests that h handles.
func (g *Gate) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.add(1)
		defer g.add(-1)
		h.ServeHTTP(w, r)
		_ = http.NewResponseController(w).Flush() // the answer is on its way before the request counts as done
	})
}

func (g *Gate) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n += n; g.n == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// Wait returns when no request is in hand.
func (g *Gate) Wait() { <-g.done() }

// WaitAtMost is Wait with patience for clients that do not read their answers.
func (g *Gate) WaitAtMost(d time.Duration) {
	patience := time.NewTimer(d)
	defer patience.Stop()
	select {
	case <-g.done():
	case <-patience.C:
	}
}

// done returns a channel that is closed when no request is in hand.
func (g *Gate) done() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n == 0 {
		over := make(chan struct{})
		close(over)
		return over
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	return g.idle
}
