package session_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gitlab.com/skerry/skerry/internal/session"
	"gitlab.com/skerry/skerry/internal/terminal"
)

const patience = 30 * time.Second

// echo is a terminal that shows what is typed; "exit" ends it. After "over" it takes nothing, and tells of its end when
// that has been tried twice.
type echo struct {
	typed   chan []byte
	once    sync.Once
	done    chan struct{}
	over    atomic.Bool
	refused chan struct{}
}

func newEcho(ctx context.Context) *echo {
	e := &echo{typed: make(chan []byte), done: make(chan struct{}), refused: make(chan struct{}, 2)}
	context.AfterFunc(ctx, e.Close)
	return e
}

func (e *echo) Send(_ terminal.Kind, data []byte) error {
	if e.over.Load() {
		e.refused <- struct{}{}
		return io.ErrClosedPipe
	}
	if string(data) == "over" {
		e.over.Store(true)
		return nil
	}
	select {
	case e.typed <- append([]byte(nil), data...):
		return nil
	case <-e.done:
		return io.ErrClosedPipe
	}
}

func (e *echo) Receive() (terminal.Kind, []byte, error) {
	select {
	case b := <-e.typed:
		if string(b) == "exit" {
			return terminal.Exit, []byte(`{"code":0}`), nil
		}
		return terminal.Output, b, nil
	case <-e.refused:
		select {
		case <-e.refused:
			return terminal.Exit, []byte(`{"code":0}`), nil
		case <-e.done:
		}
	case <-e.done:
	}
	return 0, nil, io.EOF
}

func (e *echo) Close() { e.once.Do(func() { close(e.done) }) }

// rig is a server and what it opens.
type rig struct {
	*session.Server

	mu     sync.Mutex
	opened []*echo
	paths  []string
}

func newRig(t *testing.T, dir string, open func(ctx context.Context, path string) error) *rig {
	t.Helper()
	r := &rig{}
	var err error
	r.Server, err = session.Listen(t.Context(), session.Options{
		Listen: "127.0.0.1:0", Advertise: "localhost:8093", Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Open: func(ctx context.Context, path string) (session.Terminal, error) {
			if open != nil {
				if err := open(ctx, path); err != nil {
					return nil, err
				}
			}
			e := newEcho(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.opened, r.paths = append(r.opened, e), append(r.paths, path)
			return e, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// client trusts what GitLab is told to trust, and nothing else, as Workhorse does.
func (r *rig) client(t *testing.T, o session.Offer) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(o.Certificate)) {
		t.Fatal("the certificate is none")
	}
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", r.Addr().String())
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (r *rig) dial(t *testing.T, o session.Offer, protocol string) (*websocket.Conn, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	header := http.Header{}
	if o.Authorization != "" {
		header.Set("Authorization", o.Authorization)
	}
	c, res, err := websocket.Dial(ctx, o.URL+"/exec", &websocket.DialOptions{HTTPClient: r.client(t, o), HTTPHeader: header, Subprotocols: []string{protocol}})
	if err != nil {
		if res == nil {
			t.Fatal(err)
		}
		return nil, res.StatusCode
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c, res.StatusCode
}

func TestTerminalOverBothProtocols(t *testing.T) {
	t.Parallel()
	for protocol, kind := range map[string]websocket.MessageType{"terminal.gitlab.com": websocket.MessageBinary, "base64.terminal.gitlab.com": websocket.MessageText} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, t.TempDir(), nil)
			o := r.Offer()
			if !strings.HasPrefix(o.URL, "https://localhost:8093/session/") {
				t.Errorf("URL %s", o.URL)
			}
			c, _ := r.dial(t, o, protocol)
			if c == nil || c.Subprotocol() != protocol {
				t.Fatalf("protocol %q", c.Subprotocol())
			}
			code := func(b string) []byte {
				if kind == websocket.MessageText {
					b = base64.StdEncoding.EncodeToString([]byte(b))
				}
				return []byte(b)
			}
			for _, text := range []string{"a", "hello \xff\x00 there", strings.Repeat("long ", 100)} {
				if err := c.Write(t.Context(), kind, code(text)); err != nil {
					t.Fatal(err)
				}
				got, b, err := c.Read(t.Context())
				if err != nil || got != kind || string(b) != string(code(text)) {
					t.Fatalf("%v %q %v", got, b, err)
				}
			}
			if err := c.Write(t.Context(), kind, code("exit")); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("the end: %v", err)
			}
			if r.paths[0] != strings.TrimPrefix(o.URL, "https://localhost:8093") {
				t.Errorf("opened %s", r.paths[0])
			}
		})
	}
}

// A shell that ends while somebody types is not cut off.
func TestShellThatEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir(), nil)
	c, _ := r.dial(t, r.Offer(), "terminal.gitlab.com")
	for _, text := range []string{"over", "typed", "typed"} {
		if err := c.Write(t.Context(), websocket.MessageBinary, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the end: %v", err)
	}
}

func TestWhoIsNotLetIn(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir(), func(_ context.Context, path string) error {
		if strings.HasSuffix(path, "00000000000000000000000000000000") {
			return session.ErrNoJob
		}
		return nil
	})
	mine, other := r.Offer(), r.Offer()
	for name, c := range map[string]struct {
		change func(o *session.Offer)
		code   int
	}{
		"no authorization":       {func(o *session.Offer) { o.Authorization = "" }, 401},
		"a wrong one":            {func(o *session.Offer) { o.Authorization = strings.Repeat("0", len(o.Authorization)) }, 401},
		"a part of it":           {func(o *session.Offer) { o.Authorization = o.Authorization[:10] }, 401},
		"more than it":           {func(o *session.Offer) { o.Authorization += "0" }, 401},
		"that of another job":    {func(o *session.Offer) { o.Authorization = other.Authorization }, 401},
		"with a bearer":          {func(o *session.Offer) { o.Authorization = "Bearer " + o.Authorization }, 401},
		"a session of nobody":    {func(o *session.Offer) { o.URL = o.URL[:len(o.URL)-32] + strings.Repeat("0", 32) }, 401},
		"another path":           {func(o *session.Offer) { o.URL += "/proxy/build/80" }, 404},
		"a name that is no name": {func(o *session.Offer) { o.URL = o.URL[:len(o.URL)-32] + strings.Repeat("x", 32) }, 404},
		"a path that climbs":     {func(o *session.Offer) { o.URL += "/../" + strings.Repeat("1", 32) }, 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := mine
			c.change(&o)
			conn, code := r.dial(t, o, "terminal.gitlab.com")
			if conn != nil || code != c.code {
				t.Errorf("code %d, want %d", code, c.code)
			}
		})
	}
	t.Run("no WebSocket", func(t *testing.T) {
		t.Parallel()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, mine.URL+"/exec", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", mine.Authorization)
		res, err := r.client(t, mine).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s", res.Status)
		}
	})
	t.Cleanup(func() {
		if len(r.opened) != 0 {
			t.Errorf("%d terminals were opened: %v", len(r.opened), r.paths)
		}
	})
}

func TestHostileUser(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		protocol string
		kind     websocket.MessageType
		message  []byte
		status   websocket.StatusCode
	}{
		"a huge message": {"terminal.gitlab.com", websocket.MessageBinary, make([]byte, 8<<20), websocket.StatusMessageTooBig},
		"no base64":      {"base64.terminal.gitlab.com", websocket.MessageText, []byte("%%%%"), websocket.StatusInvalidFramePayloadData},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, t.TempDir(), nil)
			conn, _ := r.dial(t, r.Offer(), c.protocol)
			conn.SetReadLimit(-1)
			go func() { _ = conn.Write(t.Context(), c.kind, c.message) }() // is cut off
			for {
				_, _, err := conn.Read(t.Context())
				if err == nil {
					continue
				}
				if got := websocket.CloseStatus(err); got != c.status && !errors.Is(err, io.EOF) && got != -1 {
					t.Errorf("%v", err)
				}
				break
			}
			select {
			case <-r.opened[0].done:
			case <-time.After(patience):
				t.Error("the terminal is left open")
			}
		})
	}
}

func TestManyUsersOfOneSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir(), nil)
	o := r.Offer()
	var conns []*websocket.Conn
	for range 4 {
		c, _ := r.dial(t, o, "terminal.gitlab.com")
		conns = append(conns, c)
	}
	if c, code := r.dial(t, o, "terminal.gitlab.com"); c != nil || code != http.StatusLocked {
		t.Errorf("the fifth: %d", code)
	}
	if c, _ := r.dial(t, r.Offer(), "terminal.gitlab.com"); c == nil {
		t.Error("another session is kept out")
	}
	_ = conns[0].CloseNow()
	<-r.opened[0].done
	for deadline := time.Now().Add(patience); ; {
		if c, _ := r.dial(t, o, "terminal.gitlab.com"); c != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of one that has gone is not free")
		}
	}
	r.Close()
	for _, e := range r.opened {
		<-e.done
	}
}

// What GitLab was given before a restart is good after it, unless the host has changed.
func TestKeysOutliveTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := newRig(t, dir, nil)
	o := first.Offer()
	first.Close()
	if info, err := os.Stat(filepath.Join(dir, "session.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	second := newRig(t, dir, nil)
	if c, code := second.dial(t, o, "terminal.gitlab.com"); c == nil {
		t.Errorf("after a restart: %d", code)
	}
	second.Close()
	if err := os.WriteFile(filepath.Join(dir, "session.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if third := newRig(t, dir, nil).Offer(); third.Certificate == o.Certificate {
		t.Error("broken keys were used")
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ listen, advertise, says string }{
		"no port":              {"127.0.0.1", "", "listen_address"},
		"a scheme":             {"127.0.0.1:0", "https://host:8093", "without https://"},
		"nobody reaches it":    {"0.0.0.0:0", "", "set advertise_address"},
		"nobody reaches it, 6": {"[::]:0", "", "set advertise_address"},
		"only a port":          {":0", "", "set advertise_address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := session.Listen(t.Context(), session.Options{Listen: c.listen, Advertise: c.advertise, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
}
