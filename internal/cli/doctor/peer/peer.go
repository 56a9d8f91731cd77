// Package peer is what `doctor` checks of the programs and servers that a runner talks to: container engines, registries,
// GitLab, Nix daemons. They are reached as the runner reaches them. One file is one check.
package peer

import (
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"time"
)

// within bounds what one check waits for.
const within = 20 * time.Second

// trouble says in a few words why a server cannot be reached.
func trouble(err error) (what string, certificate bool) {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return "the name " + dns.Name + " is not known", false
	case errors.As(err, &unknown), errors.As(err, &name), errors.As(err, &invalid):
		return "its certificate is not trusted: " + cause(err), true
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer in time", false
	}
	return cause(err), false
}

// cause is the innermost of what net/http says, which repeats the address.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return cause(u.Err)
	}
	return err.Error()
}

// shown is an address without what may be a password in it.
func shown(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that cannot be read"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
