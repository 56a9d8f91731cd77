package gitlab

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// TLS says which certificates to use. Each is a file or PEM text; PEM wins. Files that change are
// read again for the next connections.
type TLS struct {
	CAFile, CertFile, KeyFile string // tls-ca-file, tls-cert-file, tls-key-file
	CA, Cert, Key             []byte // PEM
}

// TLSData is what a job needs to trust and reach the server as the runner does. All PEM.
type TLSData struct {
	// CAChain is the content of CI_SERVER_TLS_CA_FILE: the configured certificates, else the chains
	// that the server was verified by; empty over plain HTTP.
	CAChain string
	Cert    string // CI_SERVER_TLS_CERT_FILE; empty without a client certificate
	Key     string // CI_SERVER_TLS_KEY_FILE; secret
}

// material is TLS read into memory.
type material struct {
	ca, cert, key []byte
	read          [3]time.Time // modification times of the three files
}

func (t TLS) load() (material, error) {
	m := material{ca: t.CA, cert: t.Cert, key: t.Key, read: t.modified()}
	for _, f := range []struct {
		setting, file string
		into          *[]byte
	}{
		{"tls-ca-file", t.CAFile, &m.ca},
		{"tls-cert-file", t.CertFile, &m.cert},
		{"tls-key-file", t.KeyFile, &m.key},
	} {
		if len(*f.into) > 0 || f.file == "" {
			continue
		}
		data, err := os.ReadFile(f.file)
		if err != nil {
			return m, fmt.Errorf("%s: %w", f.setting, err)
		}
		*f.into = data
	}
	return m, nil
}

func (t TLS) modified() [3]time.Time {
	var out [3]time.Time
	for i, file := range []string{t.CAFile, t.CertFile, t.KeyFile} {
		if file == "" {
			continue
		}
		if info, err := os.Stat(file); err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}

func (m material) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(m.ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(m.ca) {
			return nil, errors.New("tls-ca-file: it holds no PEM certificate")
		}
		config.RootCAs = pool
	}
	if (len(m.cert) > 0) != (len(m.key) > 0) {
		return nil, errors.New("tls-cert-file and tls-key-file go together, but only one of them is set")
	}
	if len(m.cert) > 0 {
		pair, err := tls.X509KeyPair(m.cert, m.key)
		if err != nil {
			return nil, fmt.Errorf("tls-cert-file and tls-key-file: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func (m material) data(state *tls.ConnectionState) TLSData {
	out := TLSData{CAChain: string(m.ca), Cert: string(m.cert), Key: string(m.key)}
	if out.CAChain == "" {
		out.CAChain = chain(state)
	}
	return out
}

// chain writes every certificate of the verified chains once, as GitLab Runner does
// (helpers/tls/ca_chain): git in a job's image may know none of the authorities of this host.
func chain(state *tls.ConnectionState) string {
	if state == nil {
		return ""
	}
	var out bytes.Buffer
	seen := make(map[string]bool)
	for _, verified := range state.VerifiedChains {
		for _, certificate := range verified {
			if seen[string(certificate.Raw)] {
				continue
			}
			seen[string(certificate.Raw)] = true
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}) // a buffer takes all
		}
	}
	return out.String()
}
