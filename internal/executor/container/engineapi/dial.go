package engineapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long a connection waits for an engine that is not there: one that is restarted, or is
// about to be started by the machine's own start.
const patience = 30 * time.Second

// dialer makes connections to one engine, those that are hijacked included.
type dialer struct {
	address       Address
	network, addr string
	tls           *tls.Config
	revive        func(context.Context) error
	patience      time.Duration
	plain         atomic.Bool  // the engine speaks no TLS, and none of it was to be verified
	contact       atomic.Int64 // when a connection was made last, unix nanoseconds
}

func newDialer(a Address, revive func(context.Context) error) (*dialer, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	u, err := url.Parse(a.Host)
	if err != nil {
		return nil, fmt.Errorf("the engine's address %q: %w", a.Host, err)
	}
	d := &dialer{address: a, network: "tcp", addr: u.Host, revive: revive, patience: patience}
	if u.Scheme == schemeUnix {
		d.network, d.addr = schemeUnix, u.Path
		return d, nil
	}
	if a.Verify || a.CertPath != "" || u.Scheme == "https" {
		if d.tls, err = a.tls(u.Hostname()); err != nil {
			return nil, err
		}
	}
	if u.Port() == "" {
		port := "2375"
		if d.tls != nil {
			port = "2376"
		}
		d.addr = net.JoinHostPort(u.Hostname(), port)
	}
	return d, nil
}

// tls reads the certificates. As with GitLab Runner ca.pem alone is trusted where there is one. Without
// Verify any certificate of the engine is accepted.
func (a Address) tls(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: !a.Verify} //nolint:gosec // asked for
	if a.CertPath == "" {
		return c, nil
	}
	if a.Verify {
		path := filepath.Join(a.CertPath, "ca.pem")
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("tls_cert_path %s: %w: it must hold ca.pem, which the engine's certificate is verified with (tls_verify)", a.CertPath, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
		}
	}
	cert, key := filepath.Join(a.CertPath, "cert.pem"), filepath.Join(a.CertPath, "key.pem")
	if _, err := os.Stat(cert); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
			return c, nil // the engine may ask for none
		}
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls_cert_path %s: the client certificate cert.pem with key.pem: %w", a.CertPath, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// transport makes requests over the dialer's connections. To net/http they are all without TLS, so that
// hijacked ones come from the same place.
func (d *dialer) transport() *http.Transport {
	return &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx) },
		MaxIdleConns:    maxIdle,
		IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: maxIdle,
	}
}

// maxIdle is how many connections are kept: those of some jobs that start at once.
const maxIdle = 16

// dial connects, for a while again and again where the engine may be about to come (back). Its error is
// *UnreachableError or the end of ctx.
func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	until := time.Now().Add(d.patience)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		conn, err := d.once(ctx)
		if err == nil {
			d.contact.Store(time.Now().UnixNano())
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if d.revive != nil && absentEngine(err) {
			if reviveErr := d.revive(ctx); reviveErr != nil {
				return nil, &UnreachableError{Host: d.address.Host, why: reviveErr.Error()}
			}
		} else if !passing(err) || time.Now().Add(wait).After(until) {
			return nil, unreachable(d.address, err)
		}
		if !pause(ctx, wait) {
			return nil, context.Cause(ctx)
		}
	}
}

// connectTime bounds one attempt to connect, TLS included.
const connectTime = 10 * time.Second

func (d *dialer) once(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	plain := net.Dialer{KeepAlive: 30 * time.Second}
	conn, err := plain.DialContext(ctx, d.network, d.addr)
	if err != nil || d.tls == nil || d.plain.Load() {
		return conn, err
	}
	secure := tls.Client(conn, d.tls)
	err = secure.HandshakeContext(ctx)
	if err == nil {
		return secure, nil
	}
	_ = conn.Close()
	var other tls.RecordHeaderError
	if errors.As(err, &other) && !d.address.Verify {
		// GitLab Runner uses no TLS at all without tls_verify.
		d.plain.Store(true)
		return plain.DialContext(ctx, d.network, d.addr)
	}
	return nil, err
}

// absentEngine reports that nobody listens.
func absentEngine(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// passing reports that an error may be gone in a while.
func passing(err error) bool {
	var timeout net.Error
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case absentEngine(err), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EAGAIN):
		return true
	}
	return errors.As(err, &timeout) && timeout.Timeout()
}
