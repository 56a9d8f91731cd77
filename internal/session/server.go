// Package session is the server behind GitLab's web terminal ([session_server]): each request for a job offers a session,
// and GitLab connects its user to the job's terminal there, over TLS and a WebSocket.
//
// # Sessions without memory
//
// A session's name is random and its authorization a MAC of the name, so that nothing about a session has to be kept: not while
// a request waits for a job, not over a restart of the runner. The key, and the certificate that GitLab has been given
// with the session, are in the state directory (0600).
//
// # Trust
//
// The port is open to whoever reaches it. Nothing is looked up before the authorization has been found right, in constant
// time, and requests and messages are bounded.
//
// Sources: gitlab-runner session/; GitLab's Ci::BuildRunnerSession and workhorse/internal/channel.
package session

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/terminal"
)

// Offer is what GitLab is told of a session with the request for a job.
type Offer struct {
	URL           string
	Certificate   string // PEM
	Authorization string // secret
}

// Terminal is an open terminal of a job.
type Terminal interface {
	Send(k terminal.Kind, data []byte) error
	Receive() (terminal.Kind, []byte, error)
	Close() // ends what runs in it
}

// ErrNoJob says that no job has the session.
var ErrNoJob = errors.New("no job has this session now")

// Options is what a Server needs.
type Options struct {
	Listen    string // host:port
	Advertise string // host:port by which GitLab reaches it; empty: Listen
	Dir       string // of the key and the certificate: the state directory
	// Open opens a terminal in the job whose session ends in path ("/session/NAME"). It waits until there can be one. The
	// terminal ends with ctx. An error that wraps ErrNoJob is one of the asker, all others are ours.
	Open func(ctx context.Context, path string) (Terminal, error)
	Log  *slog.Logger
}

// Server serves sessions.
type Server struct {
	o       Options
	keys    keys
	base    string // https://host:port
	http    *http.Server
	addr    net.Addr
	served  chan struct{}
	ctx     context.Context //nolint:containedctx // of all terminals
	cancel  context.CancelFunc
	handled sync.WaitGroup

	mu   sync.Mutex
	open map[string]int // terminals by session
}

const (
	prefix  = "/session/"
	nameLen = 32 // hex digits

	// perSession and perServer are how many terminals there may be at once.
	perSession = 4
	perServer  = 128
	// maxConns is how many connections there may be at once, authorized or not.
	maxConns = 512
)

// Listen makes the server and serves until Close.
func Listen(ctx context.Context, o Options) (*Server, error) {
	host, advertised, err := addresses(o)
	if err != nil {
		return nil, err
	}
	k, err := loadKeys(o.Dir, host, time.Now())
	if err != nil {
		return nil, fmt.Errorf("session_server: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("session_server.listen_address %q: %w; it must be host:port of this machine, and free", o.Listen, err)
	}
	s := &Server{o: o, keys: k, base: "https://" + advertised, addr: l.Addr(), served: make(chan struct{}), open: map[string]int{}}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	secured := tls.NewListener(newLimited(l, maxConns), &tls.Config{
		Certificates: []tls.Certificate{k.certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	})
	go func() {
		defer close(s.served)
		if err := s.http.Serve(secured); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("The session server ended: there are no web terminals", "error", err)
		}
	}()
	return s, nil
}

// addresses returns the host that the certificate is for, and how GitLab is told to reach the server.
func addresses(o Options) (host, advertised string, err error) {
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		return "", "", fmt.Errorf("session_server.listen_address %q: it must be host:port", o.Listen)
	}
	key, advertised := "advertise_address", o.Advertise
	if advertised == "" {
		key, advertised = "listen_address", o.Listen
	}
	host, _, err = net.SplitHostPort(advertised)
	if err != nil || strings.ContainsAny(advertised, "/ ") {
		return "", "", fmt.Errorf("session_server.%s %q: it must be host:port, without https://", key, advertised)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", "", fmt.Errorf("session_server.%s %q: GitLab cannot reach this address: set advertise_address to host:port of this machine as GitLab sees it", key, advertised)
	}
	return host, advertised, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.addr }

// Close ends all terminals and the server.
func (s *Server) Close() {
	s.cancel()
	_ = s.http.Close()
	<-s.served
	s.handled.Wait()
}

// Offer makes a session for one request for a job.
func (s *Server) Offer() Offer {
	b := make([]byte, nameLen/2)
	_, _ = rand.Read(b) // never fails, crypto/rand
	name := hex.EncodeToString(b)
	return Offer{URL: s.base + prefix + name, Certificate: s.keys.certificatePEM, Authorization: s.authorization(name)}
}

func (s *Server) authorization(name string) string {
	mac := hmac.New(sha256.New, s.keys.secret)
	mac.Write([]byte("session " + name))
	return hex.EncodeToString(mac.Sum(nil))
}

// handle answers GET /session/NAME/exec, and nothing else. What GitLab Runner answers: session/session.go.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	s.handled.Add(1)
	defer s.handled.Done()
	path, found := strings.CutSuffix(r.URL.Path, "/exec")
	name, ours := strings.CutPrefix(path, prefix)
	if !found || !ours || len(name) != nameLen || strings.Trim(name, "0123456789abcdef") != "" {
		refuse(w, http.StatusNotFound)
		return
	}
	given := r.Header.Values("Authorization")
	if len(given) != 1 || !hmac.Equal([]byte(given[0]), []byte(s.authorization(name))) {
		s.o.Log.Warn("A request for a web terminal is not authorized", "from", r.RemoteAddr)
		refuse(w, http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	if !s.admit(name) {
		refuse(w, http.StatusLocked)
		return
	}
	defer s.dismiss(name)
	s.serve(w, r, path)
}

func refuse(w http.ResponseWriter, code int) { http.Error(w, http.StatusText(code), code) }

func (s *Server) admit(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	for _, n := range s.open {
		all += n
	}
	if s.open[name] >= perSession || all >= perServer {
		return false
	}
	s.open[name]++
	return true
}

func (s *Server) dismiss(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[name]--; s.open[name] == 0 {
		delete(s.open, name)
	}
}

// limited is a listener with a bound on open connections: beyond it nobody is accepted until one is closed.
type limited struct {
	net.Listener

	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimited(l net.Listener, most int) *limited {
	return &limited{Listener: l, free: make(chan struct{}, most), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.free })}, nil
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn

	release func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
