package engineapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// UnreachableError says why no connection to an engine can be made, and what to do about it.
type UnreachableError struct {
	Host string
	why  string
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the container engine at %s cannot be reached: %s", e.Host, e.why)
}

// unreachable explains an error of connecting for the operator.
func unreachable(a Address, err error) *UnreachableError {
	return &UnreachableError{Host: a.Host, why: words(a, err)}
}

// howToStart is what people do about a missing engine.
const howToStart = "start it (your own Podman: `systemctl --user enable --now podman.socket`; the machine's: `systemctl enable --now podman.socket` or `systemctl enable --now docker`) " +
	"or set `host` in [runners.docker] to the address of another"

func words(a Address, err error) string {
	path, unix := strings.CutPrefix(a.Host, "unix://")
	var verify *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, fs.ErrPermission) && unix:
		return "permission denied: " + whoMay(path)
	case errors.Is(err, fs.ErrNotExist) && unix:
		return "there is no such socket: " + howToStart
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there: " + howToStart
	case errors.As(err, &unknown):
		return fmt.Sprintf("%v: `tls_cert_path` must name a directory whose ca.pem has signed the engine's certificate, or `tls_verify` be false", err)
	case errors.As(err, &verify):
		return fmt.Sprintf("%v: the certificate must be valid for the name in `host`, or `tls_verify` be false", err)
	case errors.As(err, &header):
		return "it does not speak TLS: take `tls_cert_path` and `tls_verify` out of [runners.docker], or use the engine's port for TLS"
	case errors.As(err, &alert):
		return fmt.Sprintf("the engine refuses the connection (%v): it probably asks for a client certificate, cert.pem with key.pem in `tls_cert_path`", err)
	default:
		return err.Error()
	}
}

// whoMay says which users may connect to a socket.
func whoMay(path string) string {
	me := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		me = u.Username
	}
	own := "or use Podman of your own: `systemctl --user enable --now podman.socket`"
	i, err := os.Stat(path)
	if err != nil {
		return fmt.Sprintf("user %s cannot even look at it; run the runner as a user who may, %s", me, own)
	}
	s, ok := i.Sys().(*syscall.Stat_t)
	if !ok || s.Gid == 0 || i.Mode().Perm()&0o060 != 0o060 {
		return fmt.Sprintf("user %s may not use it; run the runner as its owner, %s", me, own)
	}
	group := strconv.FormatUint(uint64(s.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("members of group %s may use it: `usermod -aG %s %s` and restart the runner (they are as good as root), %s", group, group, me, own)
}

// explain makes an answer of an engine that cannot be used understandable.
func explain(a Address, err error) error {
	var down *UnreachableError
	if errors.As(err, &down) {
		return down
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "is not supported by this client: the minimum supported API version"), strings.Contains(text, "client version") && strings.Contains(text, "too new"):
		return fmt.Errorf("the container engine at %s is too old (%w): Docker 20.10 or Podman 4.3 is the least", a.Host, err)
	case strings.Contains(text, "HTTPS server"), strings.Contains(text, "malformed HTTP response"):
		return fmt.Errorf("the container engine at %s wants TLS: set `tls_cert_path` to the directory of its ca.pem, cert.pem and key.pem, and `tls_verify`", a.Host)
	case strings.Contains(text, "tls: "):
		return fmt.Errorf("the container engine at %s refuses the connection (%w): it probably asks for a client certificate, cert.pem with key.pem in `tls_cert_path`", a.Host, err)
	}
	return fmt.Errorf("the container engine at %s: %w", a.Host, err)
}
