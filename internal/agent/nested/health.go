package nested

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// health has the engine run the health checks of its containers. Podman leaves it to systemd when that is to be, and there is
// none here.
type health struct {
	http    *http.Client
	mu      sync.Mutex
	checked map[string]*check // by the containers' ids
	checks  sync.WaitGroup
	grace   time.Duration // in which the engine has to answer, beyond what a check itself may take
}

// check is that of one container.
type check struct{ stop context.CancelFunc }

// What bounds the talk with the engine, whose socket is the job's to replace.
const (
	healthBytes   = 1 << 20          // of an answer, of an event
	healthChecks  = 256              // containers at once
	healthPause   = time.Second      // until the engine is asked for events again
	leastInterval = time.Second / 10 // between two checks
	healthAnswer  = 30 * time.Second // for an answer
	healthTimeout = 30 * time.Second // of a check that says nothing. Source: docs.docker.com/reference/dockerfile/#healthcheck
	longestCheck  = time.Hour
	healthHangs   = 10 // checks of one container after each other that do not end: what they have begun may still run
)

// newHealth is one for the engine at a socket.
func newHealth(socket string) *health {
	return &health{
		checked: map[string]*check{}, grace: healthAnswer,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, "unix", socket)
				},
				DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// watch looks after all containers until ctx ends.
func (h *health) watch(ctx context.Context) {
	defer h.checks.Wait()
	since := time.Now()
	for ctx.Err() == nil {
		from := since
		since = time.Now()
		_ = h.follow(ctx, from) // it ends with the engine, or when that is not up yet
		timer := time.NewTimer(healthPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// follow hears which containers are started, and which go on: a paused one is not checked. Source: docs.podman.io/en/latest/_static/api.html, SystemEventsLibpod.
func (h *health) follow(ctx context.Context, since time.Time) error {
	q := url.Values{"stream": {"true"}, "since": {fmt.Sprint(since.Unix())}, "filters": {`{"type":["container"],"event":["start","unpause","died"]}`}}
	body, err := h.get(ctx, "/libpod/events?"+q.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	bounded := &io.LimitedReader{R: body}
	for d := json.NewDecoder(bounded); ; {
		bounded.N = healthBytes
		var event struct {
			Action string
			Actor  struct{ ID string }
		}
		if err := d.Decode(&event); err != nil {
			return err
		}
		h.note(ctx, event.Action, event.Actor.ID)
	}
}

// note begins or ends the checks of a container.
func (h *health) note(ctx context.Context, action, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.checked[id]; c != nil {
		c.stop()
		delete(h.checked, id)
	}
	if action != "start" && action != "unpause" || id == "" || len(h.checked) >= healthChecks {
		return
	}
	checking, stop := context.WithCancel(ctx)
	c := &check{stop: stop}
	h.checked[id] = c
	h.checks.Go(func() {
		h.check(checking, id)
		stop()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.checked[id] == c {
			delete(h.checked, id)
		}
	})
}

// check has the checks of a container run, until it ends or is paused, or they hang.
func (h *health) check(ctx context.Context, id string) {
	config, err := h.config(ctx, id)
	if err != nil {
		return // it has ended, or has no check
	}
	every := time.NewTicker(max(config.Interval, leastInterval))
	defer every.Stop()
	for hung := 0; hung < healthHangs; {
		err := h.run(ctx, id, config.Timeout)
		if errors.Is(err, errEnded) { // else it is tried again
			return
		}
		if hung++; !errors.Is(err, context.DeadlineExceeded) {
			hung = 0
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// run has a check run that may take some time.
func (h *health) run(ctx context.Context, id string, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = healthTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, min(timeout, longestCheck)+h.grace)
	defer cancel()
	body, err := h.get(ctx, "/libpod/containers/"+url.PathEscape(id)+"/healthcheck")
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(body, healthBytes))
	return err
}

var (
	errNoCheck = errors.New("the container has no health check")
	errEnded   = errors.New("the container does not run")
)

// healthConfig is what a container says of its check.
type healthConfig struct {
	Test     []string
	Interval time.Duration
	Timeout  time.Duration
}

// config asks for the check of a container.
func (h *health) config(ctx context.Context, id string) (*healthConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, healthAnswer)
	defer cancel()
	body, err := h.get(ctx, "/libpod/containers/"+url.PathEscape(id)+"/json")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var c struct {
		Config struct{ Healthcheck *healthConfig }
	}
	if err := json.NewDecoder(io.LimitReader(body, healthBytes)).Decode(&c); err != nil {
		return nil, err
	}
	check := c.Config.Healthcheck
	if check == nil || len(check.Test) == 0 || slices.Contains(check.Test[:1], "NONE") || check.Interval <= 0 {
		return nil, errNoCheck
	}
	return check, nil
}

// get asks the engine; the caller closes what it answers.
func (h *health) get(ctx context.Context, path string) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v4.0.0"+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := h.http.Do(q)
	if err != nil {
		return nil, err
	}
	switch r.StatusCode {
	case http.StatusOK:
		return r.Body, nil
	case http.StatusNotFound, http.StatusConflict:
		return nil, errors.Join(errEnded, r.Body.Close())
	default:
		return nil, errors.Join(fmt.Errorf("the engine answers %s", r.Status), r.Body.Close())
	}
}
