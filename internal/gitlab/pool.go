package gitlab

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// pool is the one transport of a client. It makes a new one when the old is older than maxAge or a
// certificate file changed; what is under way on the old one finishes there.
type pool struct {
	tls           TLS
	maxAge        time.Duration
	headerTimeout time.Duration
	now           func() time.Time
	log           *slog.Logger

	mu        sync.Mutex
	transport *http.Transport
	loaded    material
	made      time.Time
}

// RoundTrip makes one request on the current transport.
func (p *pool) RoundTrip(req *http.Request) (*http.Response, error) {
	transport, err := p.current()
	if err != nil {
		return nil, err
	}
	return transport.RoundTrip(req)
}

func (p *pool) current() (*http.Transport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	old := p.transport
	if old != nil && p.loaded.read == p.tls.modified() && (p.maxAge <= 0 || now.Sub(p.made) < p.maxAge) {
		return old, nil
	}
	transport, loaded, err := p.build()
	if err != nil {
		if old == nil {
			return nil, err
		}
		// Half-written certificates: go on with those that worked, and look again next time.
		p.log.Warn("certificates cannot be read again; the earlier ones stay in use", "error", err)
		return old, nil
	}
	p.transport, p.loaded, p.made = transport, loaded, now
	if old != nil {
		old.CloseIdleConnections()
	}
	return transport, nil
}

func (p *pool) build() (*http.Transport, material, error) {
	loaded, err := p.tls.load()
	if err != nil {
		return nil, loaded, err
	}
	config, err := loaded.config()
	if err != nil {
		return nil, loaded, err
	}
	// HTTP/1.1 on purpose: one stuck connection then holds up one request, not all of them.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Protocols:             &protocols,
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       config,
		MaxIdleConns:          16,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   30 * time.Second,
		ExpectContinueTimeout: time.Second,
		ResponseHeaderTimeout: p.headerTimeout,
	}, loaded, nil
}

// data returns what jobs need for TLS, given the connection that a job came over.
func (p *pool) data(state *tls.ConnectionState) TLSData {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loaded.data(state)
}
