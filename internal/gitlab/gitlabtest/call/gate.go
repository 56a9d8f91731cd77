package call

import (
	"net/http"
	"sync"
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
func (g *Gate) Wait() {
	g.mu.Lock()
	if g.n == 0 {
		g.mu.Unlock()
		return
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	<-idle
}
