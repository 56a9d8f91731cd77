package gitlabtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/call"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/project"
)

// Coordinator is a running coordinator. Make one with Start or New.
type Coordinator struct {
	opts    Options
	addr    string
	mux     *http.ServeMux
	calls   *call.Server
	closing chan struct{}
	wg      sync.WaitGroup // the goroutines of this coordinator

	srvMu  sync.Mutex
	server *http.Server // nil while it is down
	leave  func()       // gives the port up
	cancel context.CancelFunc
	served chan struct{}
	gate   call.Gate

	breaches breach.List

	mu          sync.Mutex // guards everything below
	nextID      int64
	runners     map[string]*runner // by token
	jobs        map[int64]*record
	byToken     map[string]*record // the job tokens ever handed out
	order       []int64
	queue       []*record // pending, oldest first
	active      map[int64]*record
	pipelines   map[int64]*run
	projects    map[string]*project.Project
	commits     map[string]*run // of AddJob, by project and ref
	notBefore   map[string]time.Time
	held        int // job requests held open
	deaths      int // of runners, see RunnerDied
	heldChanged chan struct{}
}

// New starts a coordinator. The caller closes it.
func New(opts Options) (*Coordinator, error) {
	opts.fill()
	if opts.Dir == "" {
		return nil, errors.New("coordinator: Options.Dir is empty; name a directory for its state")
	}
	for _, d := range []string{"repositories", "artifacts", "traces", "uploads"} {
		if err := os.MkdirAll(filepath.Join(opts.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("coordinator's directory: %w", err)
		}
	}
	c := &Coordinator{
		opts: opts, closing: make(chan struct{}), nextID: 100,
		runners: map[string]*runner{}, jobs: map[int64]*record{}, byToken: map[string]*record{},
		active: map[int64]*record{}, pipelines: map[int64]*run{}, projects: map[string]*project.Project{},
		commits: map[string]*run{}, notBefore: map[string]time.Time{}, heldChanged: make(chan struct{}),
	}
	c.calls = &call.Server{Hooks: hooks{c}, Clock: opts.Clock, Scale: opts.Scale, Closing: c.closing, Late: EndpointUpdate}
	if err := c.routes(); err != nil {
		return nil, err
	}
	if err := c.listen(&net.ListenConfig{}, opts.Listen); err != nil {
		return nil, err
	}
	c.wg.Add(1)
	go c.sweepLoop()
	return c, nil
}

// URL returns the instance's URL, as a runner's configuration wants it.
func (c *Coordinator) URL() string { return "http://" + c.addr }

// RegistrationToken returns the token that registers runners.
func (c *Coordinator) RegistrationToken() string { return c.opts.RegistrationToken }

// UserToken returns the personal access token of whom the runners belong to.
func (c *Coordinator) UserToken() string { return c.opts.UserToken }

// Close ends the server: requests that are held open are answered, those in hand are finished. It
// may be called again.
func (c *Coordinator) Close() {
	c.mu.Lock()
	select {
	case <-c.closing:
	default:
		close(c.closing)
	}
	c.mu.Unlock()
	const patience = 2 * time.Second
	c.gate.WaitAtMost(patience)
	c.Down()
	c.srvMu.Lock()
	c.leave()
	c.leave = func() {}
	c.srvMu.Unlock()
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jobs {
		j.trace.Close()
	}
}

// Down refuses connections from now on and cuts the open ones; state and port are kept.
func (c *Coordinator) Down() {
	c.srvMu.Lock()
	defer c.srvMu.Unlock()
	if c.server == nil {
		return
	}
	_ = c.server.Close() // closes listener and connections; nothing to be told about
	c.cancel()
	<-c.served
	c.gate.Wait()
	c.server = nil
}

// Up listens again, on the same port, after Down.
func (c *Coordinator) Up() error { return c.listen(listenAgain(), c.addr) }

func (c *Coordinator) listen(how *net.ListenConfig, addr string) error {
	c.srvMu.Lock()
	defer c.srvMu.Unlock()
	if c.server != nil {
		return nil
	}
	l, err := how.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("coordinator: listen on %q: %w", addr, err)
	}
	if c.leave == nil {
		if c.leave, err = keepPort(l); err != nil {
			return errors.Join(fmt.Errorf("coordinator: %w", err), l.Close())
		}
	}
	c.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background()) // a server has no caller; Down cancels it
	srv := &http.Server{
		Handler: c.gate.Handler(c.mux), ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: c.connected,
		ErrorLog:    slog.NewLogLogger(c.opts.Logger.Handler(), slog.LevelWarn),
	}
	c.server, c.cancel, c.served = srv, cancel, make(chan struct{})
	go func(served chan struct{}) {
		defer close(served)
		if err := srv.Serve(atOnce{l}); !errors.Is(err, http.ErrServerClosed) {
			c.opts.Logger.Error("coordinator stopped serving", "error", err)
		}
	}(c.served)
	return nil
}

func (c *Coordinator) id() int64 {
	c.nextID++
	return c.nextID
}

// random returns 2n hex digits.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func (c *Coordinator) routes() error {
	backend, err := project.Backend(context.Background())
	if err != nil {
		return err
	}
	c.mux = http.NewServeMux()
	for pattern, h := range map[string]http.HandlerFunc{
		"POST runners":                                 c.calls.Route(EndpointRegister, c.register),
		"DELETE runners":                               c.calls.Route(EndpointUnregister, c.unregister),
		"POST runners/verify":                          c.calls.Route(EndpointVerify, c.verify),
		"DELETE runners/managers":                      c.calls.Route(EndpointUnregister, c.unregisterManager),
		"POST runners/reset_authentication_token":      c.calls.Route(EndpointReset, c.resetToken),
		"POST runners/{id}/reset_authentication_token": c.calls.Route(EndpointReset, c.resetTokenAs),
		"GET runners/router/discovery":                 c.calls.Route(EndpointDiscovery, c.discovery),
		"POST jobs/request":                            c.calls.Route(EndpointRequest, c.request),
		"PUT jobs/{id}":                                c.calls.Route(EndpointUpdate, c.update),
		"PATCH jobs/{id}/trace":                        c.calls.Route(EndpointTrace, c.patch),
		"POST jobs/{id}/artifacts":                     c.calls.Route(EndpointUpload, c.upload),
		"GET jobs/{id}/artifacts":                      c.calls.Route(EndpointDownload, c.download),
	} {
		method, path, _ := strings.Cut(pattern, " ")
		c.mux.HandleFunc(method+" "+gitlab.APIPath+path, h)
	}
	c.mux.HandleFunc("GET /storage/{key}", c.calls.Route(EndpointStorage, c.storage))
	c.mux.HandleFunc(gitlab.APIPath, c.calls.Route(EndpointUnknown, c.unknown))
	c.mux.Handle("/", c.gitHandler(&project.Server{
		Root: filepath.Join(c.opts.Dir, "repositories"), Backend: backend, Authorize: c.mayRead,
		Log: slog.NewLogLogger(c.opts.Logger.Handler(), slog.LevelWarn).Writer(),
	}))
	return nil
}
