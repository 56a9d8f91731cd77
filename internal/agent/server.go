package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

// The bounds of what a peer may send and hold.
const (
	maxBody    = 64 << 20 // a stage's spec; file variables can be large
	maxHeader  = 16 << 10
	maxStreams = 128
	maxFrame   = 1 << 20
	maxPending = 4 << 20 // received and not yet read, a stream
)

// server makes the HTTP server. Its requests have ctx's values and do not end with it: the runner may
// read on while the agent ends.
func (a *Agent) server(ctx context.Context) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: a.guard(a.routes()), Protocols: protocols, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: time.Minute,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame,
			MaxReceiveBufferPerStream: maxPending, MaxReceiveBufferPerConnection: 4 * maxPending,
		},
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:    slog.NewLogLogger(a.o.Log.Handler(), slog.LevelDebug),
	}
}

func (a *Agent) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/hello", a.serveHello)
	m.HandleFunc("PUT /v1/job", a.serveHandover)
	m.HandleFunc("PUT /v1/stages/{id}", a.serveStart)
	m.HandleFunc("GET /v1/stages/{id}", a.serveStatus)
	m.HandleFunc("GET /v1/stages/{id}/spool", a.serveSpool)
	m.HandleFunc("POST /v1/stages/{id}/ack", a.serveAck)
	m.HandleFunc("POST /v1/stages/{id}/cancel", a.serveCancel)
	m.HandleFunc("GET /v1/archives/{name}", a.serveArchive)
	m.HandleFunc("PUT /v1/archives/{name}", a.storeArchive)
	m.HandleFunc("DELETE /v1/archives/{name}", a.deleteArchive)
	m.HandleFunc("POST /v1/terminals", a.serveTerminal)
	m.HandleFunc("GET /v1/nix", a.serveNix)
	m.HandleFunc("POST /v1/lease", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	m.HandleFunc("POST /v1/shutdown", a.serveShutdown)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Errorf("%s %s is no operation of this agent", r.Method, r.URL.Path))
	})
	return m
}

// errFenced is why requests of an older runner end.
var errFenced = errors.New("a newer runner process has taken over")

// guard checks protocol and epoch of every request, counts it as contact and ends it when a newer
// runner takes over.
func (a *Agent) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol, err := strconv.Atoi(r.Header.Get(wire.HeaderProtocol))
		if err != nil || protocol/100 != wire.Protocol/100 {
			refuse(w, http.StatusBadRequest, fmt.Errorf("the agent speaks protocol %d, the request says %q: use an agent of the runner's own version",
				wire.Protocol, r.Header.Get(wire.HeaderProtocol)))
			return
		}
		epoch, err := strconv.ParseInt(r.Header.Get(wire.HeaderEpoch), 10, 64)
		if err != nil || epoch < 0 {
			refuse(w, http.StatusBadRequest, fmt.Errorf("header %s is %q, want a number", wire.HeaderEpoch, r.Header.Get(wire.HeaderEpoch)))
			return
		}
		fence, err := a.enter(epoch)
		if err != nil {
			code := http.StatusInternalServerError
			if errors.Is(err, errFenced) {
				code = http.StatusGone
			}
			refuse(w, code, err)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		stop := context.AfterFunc(fence, func() { cancel(errFenced) })
		defer stop()
		done := a.lease.touch()
		if isEndless(r) { // may last for ever, which a hanging runner must not
			done()
			done = func() {}
		}
		defer done()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// enter compares a request's epoch with the highest seen, which it may become.
func (a *Agent) enter(epoch int64) (fence context.Context, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case epoch < a.state.Epoch:
		return nil, errFenced
	case epoch > a.state.Epoch:
		state := a.state
		state.Epoch = epoch
		if err := a.store.setJob(state); err != nil {
			a.o.Log.Warn("a successor would not know the epoch", "error", err)
		}
		a.state = state
		a.unfence(errFenced)
		a.fence, a.unfence = context.WithCancelCause(context.WithoutCancel(a.fence))
	}
	return a.fence, nil
}

func (a *Agent) serveHello(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	epoch := a.state.Epoch
	a.mu.Unlock()
	home, _ := os.UserHomeDir() // empty when there is none
	host, _ := os.Hostname()    // for people to read
	answer(w, wire.Hello{
		Host:     host,
		Protocol: wire.Protocol, Version: a.o.Version, PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(),
		OS: runtime.GOOS, Arch: runtime.GOARCH, Home: home, Shells: a.tools.shells,
		Git: a.tools.git, GitLFS: a.tools.lfs, Epoch: epoch, Dir: a.o.Dir, Nix: a.nix != nil,
	})
}

func (a *Agent) serveHandover(w http.ResponseWriter, r *http.Request) {
	var h wire.Handover
	if !decode(w, r, &h) {
		return
	}
	if epoch := r.Header.Get(wire.HeaderEpoch); epoch != strconv.FormatInt(h.Epoch, 10) {
		refuse(w, http.StatusBadRequest, fmt.Errorf("the handover is of epoch %d, its request of %s", h.Epoch, epoch))
		return
	}
	if err := a.handover(h); err != nil {
		code := http.StatusInternalServerError
		if errors.Is(err, errOtherJob) {
			code = http.StatusConflict
		}
		refuse(w, code, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// shutdownGrace is between TERM and KILL of what still runs when the runner ends the agent.
const shutdownGrace = time.Second

func (a *Agent) serveShutdown(w http.ResponseWriter, _ *http.Request) {
	e := early{reason: stage.Canceled, message: "The runner ended the environment.", grace: shutdownGrace}
	a.endAll(e)
	w.WriteHeader(http.StatusNoContent)
	a.stop(&e)
}

// decode reads a JSON body; when it is none it answers and returns false.
func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return true
	case errors.As(err, &large):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", large.Limit))
	default:
		refuse(w, http.StatusBadRequest, fmt.Errorf("the body is not what the operation takes: %w", err))
	}
	return false
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone
}

func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(wire.Error{Message: err.Error()}) // the peer is gone
}
