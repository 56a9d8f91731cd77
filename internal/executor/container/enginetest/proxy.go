package enginetest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Proxy is a second way to an engine, which a test can cut off as if the engine had been stopped.
type Proxy struct {
	Host string // "unix://…" or "tcp://…"

	engine string // its socket
	config *tls.Config
	listen func() (net.Listener, error)

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]bool
	work  sync.WaitGroup
}

// Proxy listens on a socket of its own and passes everything on to the engine, until the test ends. With
// config it is a TCP port that speaks TLS.
func (e Engine) Proxy(t *testing.T, config *tls.Config) *Proxy {
	t.Helper()
	p := &Proxy{engine: strings.TrimPrefix(e.Address.Host, "unix://"), config: config, conns: map[net.Conn]bool{}}
	if config == nil {
		dir, err := os.MkdirTemp("", "skp") // a socket's path is short
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		path := filepath.Join(dir, "s")
		p.Host = "unix://" + path
		p.listen = func() (net.Listener, error) {
			var lc net.ListenConfig
			return lc.Listen(context.Background(), "unix", path)
		}
	} else {
		address := "127.0.0.1:0"
		p.listen = func() (net.Listener, error) {
			l, err := tls.Listen("tcp", address, config)
			if err == nil {
				address = l.Addr().String()
			}
			return l, err
		}
	}
	p.Start(t)
	if config != nil {
		p.Host = "tcp://" + p.l.Addr().String()
	}
	t.Cleanup(func() {
		p.Stop()
		p.work.Wait()
	})
	return p
}

// Start listens (again).
func (p *Proxy) Start(t *testing.T) {
	t.Helper()
	l, err := p.listen()
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.l = l
	p.mu.Unlock()
	p.work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(conn) })
		}
	})
}

// Stop ends all connections and takes no more.
func (p *Proxy) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.l != nil {
		_ = p.l.Close()
	}
	p.l = nil
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) serve(conn net.Conn) {
	var d net.Dialer
	engine, err := d.DialContext(context.Background(), "unix", p.engine)
	if err != nil {
		_ = conn.Close()
		return
	}
	p.mu.Lock()
	stopped := p.l == nil
	p.conns[conn], p.conns[engine] = true, true
	p.mu.Unlock()
	if stopped {
		_ = conn.Close()
		_ = engine.Close()
	}
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		if c, ok := to.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		} else {
			_ = to.Close()
		}
	}
	both.Go(func() { pass(engine, conn) })
	both.Go(func() { pass(conn, engine) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, conn)
	delete(p.conns, engine)
	p.mu.Unlock()
	_ = conn.Close()
	_ = engine.Close()
}
