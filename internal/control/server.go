package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/socketfile"
	"gitlab.com/skerry/skerry/internal/terminal"
)

// ErrNotFound says that there is no such job or store.
var ErrNotFound = errors.New("not found")

// Server serves the socket.
type Server struct {
	runner Runner
	stores Stores
	log    *slog.Logger
	http   *http.Server
	served chan struct{}
	path   string

	ctx   context.Context //nolint:containedctx // of everything that is open
	close context.CancelFunc
}

// Listen makes the socket in dir, which only the runner's user can enter, and serves it until Close. Who calls it
// has the directory to himself: what an earlier process left is replaced.
func Listen(ctx context.Context, dir string, r Runner, n Stores, log *slog.Logger) (*Server, error) {
	l, err := listen(dir)
	if err != nil {
		return nil, fmt.Errorf("make the socket for commands: %w", err)
	}
	s := &Server{runner: r, stores: n, log: log, served: make(chan struct{}), path: filepath.Join(dir, SocketName)}
	s.ctx, s.close = context.WithCancel(context.WithoutCancel(ctx))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler: s.routes(), Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 16, MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 1 << 20},
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("The socket for commands (jobs, attach, shell, nix) ended", "error", err)
		}
	}()
	return s, nil
}

// Close ends all that is open and removes the socket.
func (s *Server) Close() {
	s.close()
	wait, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Second)
	defer cancel()
	if s.http.Shutdown(wait) != nil {
		_ = s.http.Close()
	}
	<-s.served
}

// listen makes the socket by way of the directory's descriptor: a socket's path has at most 108 bytes, a directory's may
// have more.
func listen(dir string) (net.Listener, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	at := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())))
	l, err := socketfile.Listen(filepath.Join(at, SocketName), 0o600)
	if err != nil {
		return nil, err
	}
	return ownPeers{l}, nil
}

func openDir(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// ownPeers accepts this process's user and root.
type ownPeers struct{ *net.UnixListener }

func (o ownPeers) Accept() (net.Conn, error) {
	for {
		c, err := o.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if allowed(c) {
			return c, nil
		}
		_ = c.Close()
	}
}

func allowed(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return false
	}
	return cred.Uid == 0 || int(cred.Uid) == os.Geteuid()
}

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/jobs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Jobs{Jobs: append([]Job{}, s.runner.Jobs()...)}) // the peer is gone
	})
	m.HandleFunc("GET /v1/jobs/{id}/log", s.serveLog)
	m.HandleFunc("POST /v1/jobs/{id}/release", func(w http.ResponseWriter, r *http.Request) {
		if err := s.runner.Release(r.PathValue("id")); err != nil {
			refuse(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	m.HandleFunc("POST /v1/jobs/{id}/terminal", s.serveTerminal)
	m.HandleFunc("POST /v1/prune", func(w http.ResponseWriter, r *http.Request) {
		pruned := s.runner.Prune(r.Context(), r.URL.Query().Get("socket"))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(pruned) // the peer is gone
	})
	routeNix(m, s.stores)
	return m
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusConflict
	if errors.Is(err, ErrNotFound) {
		code = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Error{Message: err.Error()}) // the peer is gone
}

// serveLog streams a log. A stream that ends without the trailer is not whole: the runner stopped.
func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	from, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	if err != nil {
		from = 0
	}
	tail, err := strconv.Atoi(r.URL.Query().Get("tail"))
	if err != nil || tail < 0 {
		tail = -1
	}
	l, from, err := s.runner.Log(r.Context(), r.PathValue("id"), from, tail)
	if err != nil {
		refuse(w, err)
		return
	}
	defer func() { _ = l.Close() }() // was read only
	w.Header().Set("Trailer", TrailerResult)
	w.Header().Set(HeaderFrom, strconv.FormatInt(from, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	err = flusher.Flush()
	buf := make([]byte, 64<<10)
	for err == nil {
		var n int
		n, err = l.Read(buf)
		if n > 0 {
			_, werr := w.Write(buf[:n])
			err = errors.Join(err, werr, flusher.Flush())
		}
	}
	if !errors.Is(err, io.EOF) {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset a stream
	}
	res, err := l.Result(r.Context())
	if err != nil {
		panic(http.ErrAbortHandler) //nolint:forbidigo // see above
	}
	b, err := json.Marshal(res)
	if err == nil {
		w.Header().Set(TrailerResult, string(b))
	}
}

// serveTerminal carries messages both ways until the program ends or the peer is gone.
func (s *Server) serveTerminal(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	peer := terminal.New(r.Body, w, c.Flush)
	var t Terminal
	if err := peer.ReceiveJSON(terminal.Begin, &t, maxBegin); err != nil {
		refuse(w, err)
		return
	}
	program, err := s.runner.Terminal(r.Context(), r.PathValue("id"), t)
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusOK)
	if c.Flush() != nil {
		program.Close()
		return
	}
	var typing sync.WaitGroup
	typing.Go(func() {
		for {
			kind, data, err := peer.Receive()
			if err != nil {
				program.Close()
				return
			}
			if kind == terminal.Input || kind == terminal.InputEnd || kind == terminal.Resize {
				_ = program.Send(kind, data) // one that takes no more has ended, and its last words are on their way
			}
		}
	})
	whole := show(peer, program)
	program.Close()
	_ = c.SetReadDeadline(time.Now())
	typing.Wait()
	if !whole {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset a stream
	}
}

// show carries what the program says to the peer and reports whether it has ended. What it may not say, it did not.
func show(peer *terminal.Stream, program Session) (whole bool) {
	for {
		kind, data, err := program.Receive()
		if err != nil {
			return false
		}
		switch kind {
		case terminal.Output, terminal.ErrorOutput, terminal.Exit:
			err = peer.Send(kind, data)
		case terminal.Begin, terminal.Input, terminal.InputEnd, terminal.Resize:
			return false
		default: // of a later version
		}
		if err != nil || kind == terminal.Exit {
			return err == nil
		}
	}
}
