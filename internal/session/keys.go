package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	fileKeys = "session.json"
	// validFor is how long a certificate is good, renewBefore when a start makes a new one: a session that GitLab has been
	// given the old one with has no terminal then.
	validFor    = 2 * 365 * 24 * time.Hour
	renewBefore = 60 * 24 * time.Hour
)

// keys are what sessions rest on.
type keys struct {
	secret         []byte
	certificate    tls.Certificate
	certificatePEM string
}

// stored is the file of keys.
type stored struct {
	Secret      []byte `json:"secret"` // of the authorizations
	Host        string `json:"host"`
	Certificate string `json:"certificate"` // PEM
	Key         string `json:"key"`         // PEM
}

// loadKeys reads the keys from dir and makes what is missing, cannot be used, or is for another host.
func loadKeys(dir, host string, now time.Time) (keys, error) {
	path := filepath.Join(dir, fileKeys)
	var f stored
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return keys{}, fmt.Errorf("read the keys of web terminals: %w", err)
	}
	if err == nil && json.Unmarshal(raw, &f) != nil {
		f = stored{} // sessions of old end; nothing else is lost
	}
	k, err := f.use(host, now)
	if err == nil {
		return k, nil
	}
	if len(f.Secret) != secretLen {
		f.Secret = make([]byte, secretLen)
		_, _ = rand.Read(f.Secret) // never fails, crypto/rand
	}
	f.Host = host
	if f.Certificate, f.Key, err = newCertificate(host, now); err != nil {
		return keys{}, fmt.Errorf("make a certificate for %s: %w", host, err)
	}
	if raw, err = json.Marshal(f); err == nil {
		err = os.WriteFile(path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return keys{}, fmt.Errorf("write the keys of web terminals: %w", err)
	}
	return f.use(host, now)
}

const secretLen = 32

// use returns the keys; its error says that they cannot be used, or not for long.
func (f stored) use(host string, now time.Time) (keys, error) {
	if len(f.Secret) != secretLen || f.Host != host {
		return keys{}, errors.New("there are none for this host")
	}
	c, err := tls.X509KeyPair([]byte(f.Certificate), []byte(f.Key))
	if err != nil {
		return keys{}, err
	}
	if now.Add(renewBefore).After(c.Leaf.NotAfter) || now.Before(c.Leaf.NotBefore) {
		return keys{}, errors.New("the certificate is over soon")
	}
	return keys{secret: f.Secret, certificate: c, certificatePEM: f.Certificate}, nil
}

// newCertificate makes a certificate that signs itself: GitLab is given it with each session, and trusts it alone.
func newCertificate(host string, now time.Time) (certificate, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Skerry"}, CommonName: "web terminals of " + host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validFor), // clocks differ
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), nil
}
