package nested

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// engine is one with containers: "checked" has health checks, "plain" none, "gone" has ended before its first check.
type engine struct {
	events chan string // what it tells next
	asked  chan string // the ids whose checks were run
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
				fmt.Fprintln(w, line)
			case <-r.Context().Done():
				return
			}
		}
	case ask == "json" && id == "plain":
		fmt.Fprint(w, `{"Config":{}}`)
	case ask == "json":
		fmt.Fprint(w, `{"Config":{"Healthcheck":{"Test":["CMD","true"],"Interval":1000000}}}`)
	case ask == "healthcheck" && id == "gone":
		w.WriteHeader(http.StatusConflict)
		fallthrough
	default:
		select {
		case e.asked <- id:
		case <-r.Context().Done():
		}
	}
}

// TestHealthChecksAreRun follows containers from their start to their end.
func TestHealthChecksAreRun(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{events: make(chan string), asked: make(chan string)}
	server := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h, ended := newHealth(socket), make(chan struct{})
	go func() {
		defer close(ended)
		h.watch(ctx)
	}()
	tell := func(action, id string) {
		e.events <- fmt.Sprintf(`{"Type":"container","Action":%q,"Actor":{"ID":%q}}`, action, id)
	}
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
	cancel()
	<-ended
	if len(h.checked) > 0 {
		t.Errorf("after the end %v are checked", h.checked)
	}
}
