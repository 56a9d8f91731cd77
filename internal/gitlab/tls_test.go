package gitlab_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

// authority is a certificate authority of the test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{}
	a.cert, a.key, a.pem = sign(t, template, nil)
	return a
}

// issue returns the PEM certificate and key of a leaf.
func (a *authority) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	_, private, cert := sign(t, template, a)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func sign(t *testing.T, template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serveTLS starts an HTTPS server with a certificate of ca; clients, if not nil, must sign clients'.
func serveTLS(t *testing.T, ca, clients *authority) *server {
	t.Helper()
	cert, key := ca.issue(t, "server")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{log: &syncBuffer{}}
	s.Server = httptest.NewUnstartedServer(s.script([]http.HandlerFunc{reply(201, `{"id": 1}`)}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	if clients != nil {
		s.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		s.TLS.ClientCAs = x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(clients.cert)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func write(t *testing.T, file string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTLSAuthorityAndClientCertificate(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "ours"), newAuthority(t, "other")
	cert, key := other.issue(t, "runner")
	s := serveTLS(t, ca, other)
	dir := t.TempDir()
	for name, setting := range map[string]gitlab.TLS{
		"files": {
			CAFile:   write(t, filepath.Join(dir, "ca"), ca.pem),
			CertFile: write(t, filepath.Join(dir, "cert"), cert),
			KeyFile:  write(t, filepath.Join(dir, "key"), key),
		},
		"PEM": {CA: ca.pem, Cert: cert, Key: key},
	} {
		c := s.client(t, func(o *gitlab.Options) { o.TLS = setting })
		got, err := c.RequestJob(t.Context(), gitlab.JobRequest{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := gitlab.TLSData{CAChain: string(ca.pem), Cert: string(cert), Key: string(key)}
		if got.TLS != want {
			t.Errorf("%s: the job gets %+v", name, got.TLS)
		}
	}
	c := s.client(t, func(o *gitlab.Options) { o.TLS = gitlab.TLS{CA: ca.pem} })
	if _, err := c.RequestJob(t.Context(), gitlab.JobRequest{}); err == nil {
		t.Error("without a client certificate the server answers")
	}
}

func TestTLSUnknownAuthority(t *testing.T) {
	t.Parallel()
	s := serveTLS(t, newAuthority(t, "ours"), nil)
	for name, ca := range map[string][]byte{"none": nil, "another": newAuthority(t, "other").pem} {
		c := s.client(t, func(o *gitlab.Options) { o.TLS.CA = ca })
		_, err := c.RequestJob(t.Context(), gitlab.JobRequest{})
		var unknown x509.UnknownAuthorityError
		if !errors.As(err, &unknown) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests reached a server that nobody trusts", n)
	}
}

// Certificates are rotated under a running runner.
func TestTLSFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	oldServer, newServer := serveTLS(t, first, nil), serveTLS(t, second, nil)
	file := write(t, filepath.Join(t.TempDir(), "ca"), first.pem)
	touch := func(age time.Duration) {
		at := time.Now().Add(-age)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	touch(time.Hour)
	address := oldServer.URL
	c := oldServer.client(t, func(o *gitlab.Options) { o.URL, o.TLS.CAFile = address, file })
	request := func() error {
		_, err := c.RequestJob(t.Context(), gitlab.JobRequest{})
		return err
	}
	if err := request(); err != nil {
		t.Fatal(err)
	}
	write(t, file, []byte("half a certif"))
	touch(30 * time.Minute)
	if err := request(); err != nil {
		t.Errorf("a half-written file breaks what worked: %v", err)
	}
	if !strings.Contains(oldServer.log.String(), "certificates cannot be read again") {
		t.Error("the operator is not told")
	}
	write(t, file, second.pem)
	touch(0)
	if err := request(); err == nil {
		t.Error("the authority that was taken away is still trusted")
	}
	c = newServer.client(t, func(o *gitlab.Options) { o.TLS.CAFile = file })
	if err := request(); err != nil {
		t.Error(err)
	}
}

func TestConnectionMaxAge(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	connections := func(age time.Duration) int {
		s := serve(t, reply(204, ""))
		seen := make(map[string]bool)
		s.Config.Handler = remoteAddresses(seen, s.Config.Handler)
		c := s.client(t, func(o *gitlab.Options) {
			o.ConnectionMaxAge = age
			o.Retry.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		})
		for range 6 {
			if _, err := c.RequestJob(t.Context(), gitlab.JobRequest{}); err != nil {
				t.Fatal(err)
			}
			now.Add(60)
		}
		return len(seen)
	}
	// Go gives a connection up whose request it does not know to be written 50 ms after the answer, as happens on a busy machine.
	const more = 1
	if n := connections(0); n > 1+more {
		t.Errorf("without a limit %d connections were made, want 1", n)
	}
	if n := connections(2 * time.Minute); n < 3 || n > 3+more {
		t.Errorf("in 6 minutes %d connections of at most 2 minutes were made, want 3", n)
	}
}

// remoteAddresses notes the address of each connection; requests come one after the other.
func remoteAddresses(seen map[string]bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen[r.RemoteAddr] = true
		next.ServeHTTP(w, r)
	})
}
