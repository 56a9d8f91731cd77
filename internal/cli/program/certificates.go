package program

import (
	"net/url"
	"os"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// Certificates is a directory that holds certificates of GitLab instances for entries that name none:
// HOST.crt with what to trust, HOST.auth.crt and HOST.auth.key as the client's certificate. Source:
// newClient in network/client.go of GitLab Runner. Empty is no directory.
type Certificates string

// Certificates is the directory certs beside the default configuration, whichever is in use.
func (p *Program) Certificates() Certificates {
	home, _ := p.Env("HOME")
	return Certificates(filepath.Join(filepath.Dir(config.DefaultPath(p.UID, home)), "certs"))
}

// TLS says which certificates r talks to its instance with.
func (c Certificates) TLS(r *config.Runner) gitlab.TLS {
	out := gitlab.TLS{CAFile: r.TLSCAFile, CertFile: r.TLSCertFile, KeyFile: r.TLSKeyFile}
	u, err := url.Parse(r.URL)
	if err != nil || c == "" || u.Hostname() == "" || u.Hostname() != filepath.Base(u.Hostname()) {
		return out
	}
	file := func(suffix string) string {
		path := filepath.Join(string(c), u.Hostname()+suffix)
		if _, err := os.Stat(path); err != nil {
			return ""
		}
		return path
	}
	if out.CAFile == "" {
		out.CAFile = file(".crt")
	}
	if cert, key := file(".auth.crt"), file(".auth.key"); out.CertFile == "" && out.KeyFile == "" && cert != "" && key != "" {
		out.CertFile, out.KeyFile = cert, key
	}
	return out
}
