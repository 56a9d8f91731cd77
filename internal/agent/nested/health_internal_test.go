package nested

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// engine is one with containers: "checked" has health checks, "plain" none, "gone" has ended before its first check,
// "paused" is before that and goes on afterwards, the first check of "stuck" does not end, none of "hangs" does.
type engine struct {
	events chan string // what it tells next
	asked  chan string // the ids whose checks were run
	began  sync.Map    // those whose first check was
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v4.0.0/libpod")
	id, ask, _ := strings.Cut(strings.TrimPrefix(path, "/containers/"), "/")
	switch {
	case path == "/events":
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case line := <-e.events:
				action, _, _ := strings.Cut(line, " ")
				if strings.Contains(r.URL.Query().Get("filters"), strconv.Quote(action)) {
					fmt.Fprintln(w, strings.TrimPrefix(line, action))
				}
			case <-r.Context().Done():
				return
			}
		}
	case ask == "json" && id == "plain":
		fmt.Fprint(w, `{"Config":{}}`)
	case ask == "json" && id == "hangs":
		fmt.Fprint(w, `{"Config":{"Healthcheck":{"Test":["CMD","true"],"Interval":1000000,"Timeout":1000000}}}`)
	case ask == "json":
		fmt.Fprint(w, `{"Config":{"Healthcheck":{"Test":["CMD","true"],"Interval":1000000,"Timeout":500000000}}}`)
	case ask == "healthcheck" && id == "gone":
		w.WriteHeader(http.StatusConflict)
		fallthrough
	default:
		select {
		case e.asked <- id:
		case <-r.Context().Done():
			return
		}
		if _, again := e.began.LoadOrStore(id, true); again {
			return
		}
		switch id {
		case "paused":
			w.WriteHeader(http.StatusConflict)
		case "stuck":
			<-r.Context().Done()
		}
	}
}

// watched is such an engine, and what looks after it until the test ends.
func watched(t *testing.T, grace time.Duration) (e *engine, h *health, tell func(action, id string), end func()) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	e = &engine{events: make(chan string), asked: make(chan string)}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	h, ended := newHealth(socket), make(chan struct{})
	h.grace = grace
	go func() {
		defer close(ended)
		h.watch(ctx)
	}()
	end = func() {
		cancel()
		<-ended
	}
	t.Cleanup(end)
	tell = func(action, id string) {
		e.events <- fmt.Sprintf(`%s {"Type":"container","Action":%q,"Actor":{"ID":%q}}`, action, action, id)
	}
	return e, h, tell, end
}

// TestHealthChecksAreRun follows containers from their start to their end.
func TestHealthChecksAreRun(t *testing.T) {
	t.Parallel()
	e, h, tell, end := watched(t, time.Minute)
	tell("start", "plain")
	tell("start", "gone")
	if id := <-e.asked; id != "gone" {
		t.Errorf("the check of %q was run", id)
	}
	tell("start", "checked")
	for range 3 {
		if id := <-e.asked; id != "checked" {
			t.Errorf("the check of %q was run", id)
		}
	}
	tell("died", "checked")
	tell("start", "gone") // the event before it has been read
	for id := <-e.asked; id != "gone"; id = <-e.asked {
		if id != "checked" {
			t.Errorf("the check of %q was run", id)
		}
	}
	end()
	if len(h.checked) > 0 {
		t.Errorf("after the end %v are checked", h.checked)
	}
}

// TestHealthChecksGoOn after a container was paused, and after a check that the engine never answers for.
func TestHealthChecksGoOn(t *testing.T) {
	t.Parallel()
	for id, next := range map[string]string{"paused": "unpause", "stuck": ""} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			e, _, tell, _ := watched(t, 0)
			tell("start", id)
			for n := range 3 {
				select {
				case <-e.asked:
				case <-time.After(time.Minute):
					t.Fatalf("%d checks were run", n)
				}
				if n == 0 && next != "" {
					tell(next, id)
				}
			}
		})
	}
}

// TestHealthChecksThatHangEnd leaves their place to those of other containers.
func TestHealthChecksThatHangEnd(t *testing.T) {
	t.Parallel()
	_, h, _, _ := watched(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if h.check(ctx, "hangs"); ctx.Err() != nil {
		t.Error("a check is run again and again that never ends")
	}
}
