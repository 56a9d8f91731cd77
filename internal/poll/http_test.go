package poll

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// serve puts c behind real HTTP and returns a Request for it, written as the contract of Runner.Request says.
func serve(t *testing.T, c *coordinator) func(context.Context, string) (Answer, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			LastUpdate string `json:"last_update"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		a, err := c.request(r.Context(), body.LastUpdate)
		if err != nil {
			return // the client has gone
		}
		w.Header().Set("X-GitLab-Last-Update", a.LastUpdate)
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Payload)
	}))
	t.Cleanup(server.Close)
	return func(ctx context.Context, last string) (Answer, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(`{"last_update":"`+last+`"}`))
		if err != nil {
			return Answer{}, err
		}
		res, err := server.Client().Do(req)
		if err != nil {
			return Answer{}, err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return Answer{Status: res.StatusCode, Payload: b, LastUpdate: res.Header.Get("X-GitLab-Last-Update")}, err
	}
}

func TestAnswerThatHasBegunIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	finish := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusCreated)
		_ = http.NewResponseController(w).Flush()
		<-finish
		_, _ = w.Write([]byte("job"))
	}))
	t.Cleanup(server.Close)
	do := func(ctx context.Context, path string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return server.Client().Do(req)
	}

	parent, cancel := context.WithCancel(t.Context())
	ctx, giveUp := patient(parent)
	res, err := do(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cancel()
	giveUp()
	close(finish)
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "job" {
		t.Errorf("read %q, %v", b, err)
	}

	ctx, giveUp = patient(parent)
	giveUp()
	if res, err := do(ctx, "/held"); err == nil {
		res.Body.Close()
		t.Error("a request that was given up was sent")
	}
}

func TestPickup(t *testing.T) {
	t.Parallel()
	c := newCoordinator()
	got := make(chan *Slot)
	p := New(Options{Handle: func(ctx context.Context, _ string, _ []byte, slot *Slot) {
		select {
		case got <- slot:
		case <-ctx.Done():
		}
	}})
	p.Set(Settings{Concurrent: 1, Runners: []Runner{{Key: "a", Request: serve(t, c)}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	defer func() { cancel(); <-done }()

	var held, freed []time.Duration
	for range 15 {
		start := time.Now()
		c.add("1", "2") // the first during a held request or just before it, the second with no slot free
		<-got
		held = append(held, time.Since(start))
		start = time.Now()
		<-got // the handler has returned, which has freed the slot
		freed = append(freed, time.Since(start))
	}
	for name, took := range map[string][]time.Duration{"job that appears": held, "slot that frees": freed} {
		slices.Sort(took)
		t.Logf("%s: median %v, worst %v", name, took[len(took)/2], took[len(took)-1])
		if took[len(took)/2] > time.Second { // what waits for the next round has three
			t.Errorf("%s: picked up after %v (median)", name, took[len(took)/2])
		}
	}
}
