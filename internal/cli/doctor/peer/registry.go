package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// Registries are the hosts that images come from, each once. What is no name of an image, or holds a variable, is left out.
func Registries(images []string) (hosts []string) {
	for _, i := range images {
		ref, err := name.ParseReference(i)
		if err != nil || strings.Contains(i, "$") {
			continue
		}
		if h := ref.Context().RegistryStr(); h != "localhost" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// hub is where Docker Hub's registry really is.
const hub = "registry-1.docker.io"

// Trust is what an engine is told of registries.
type Trust struct {
	CertDirs []string // see CertDirs
	// Insecure reports whether it uses a registry without TLS, or with any certificate; nil: none.
	Insecure func(ctx context.Context, registry string) bool
	// Allow is how it is told to, as commands or in words.
	Allow func(registry string) ([]finding.Command, string)
}

// Registry checks that a registry answers this machine, in a way that the engine takes. What is configured of mirrors in the
// engine is not looked at.
func Registry(registry string, trust Trust) finding.Check {
	return finding.Check{Name: "registry", About: registry, Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		err := ping(ctx, "https", registry, trusted(registry, trust.CertDirs))
		if err == nil {
			return finding.OK("it answers")
		}
		if loopback(registry) && ping(ctx, "http", registry, nil) == nil { // engines speak to those without TLS
			return finding.OK("it answers")
		}
		if trust.Insecure != nil && trust.Insecure(ctx, registry) {
			if err = ping(ctx, "https", registry, &tls.Config{InsecureSkipVerify: true}); err != nil { //nolint:gosec // what the engine is told to do
				err = ping(ctx, "http", registry, nil)
			}
			if err == nil {
				return finding.OK("it answers, and the engine is told not to ask who it is")
			}
		}
		return unusable(registry, trust, err)
	}}
}

func unusable(registry string, trust Trust, err error) finding.Result {
	why, certificate := trouble(err)
	bad := finding.Result{
		Severity: finding.Warning, What: "it cannot be used: " + why,
		Why:    "images that the engine does not have cannot be pulled",
		Advice: "correct name servers, proxy (HTTPS_PROXY) or firewall, or use images of another registry, until this answers: " + curl("https://"+server(registry)+"/v2/"),
	}
	switch {
	case certificate && len(trust.CertDirs) > 0:
		bad.Advice = fmt.Sprintf("put the certificate of whoever has signed it at %s", filepath.Join(trust.CertDirs[0], registry, "ca.crt"))
	case errors.Is(err, http.ErrSchemeMismatch) && trust.Allow != nil:
		bad.What = "it cannot be used: it speaks no TLS"
		if bad.Mend, bad.Advice = trust.Allow(registry); bad.Mend != nil {
			bad.Loses = "the proof that images from " + registry + " are what it has, and passwords for it to whoever listens"
		}
	}
	return bad
}

// CertDirs are where the engines look for certificates of registries. home is that of an account with a rootless engine.
func CertDirs(home string) []string {
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	if home != "" {
		dirs = append([]string{filepath.Join(home, ".config/containers/certs.d")}, dirs...)
	}
	return dirs
}

// ping asks for the registry API's root, which answers 200, or 401 to who is not logged in.
func ping(ctx context.Context, scheme, registry string, config *tls.Config) error {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+server(registry)+"/v2/", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}

// server is who serves a registry.
func server(registry string) string {
	if registry == name.DefaultRegistry {
		return hub
	}
	return registry
}

func trusted(registry string, dirs []string) *tls.Config {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, dir := range dirs {
		files, _ := filepath.Glob(filepath.Join(dir, registry, "*.crt")) // the pattern is fine
		for _, f := range files {
			if pem, err := os.ReadFile(f); err == nil {
				pool.AppendCertsFromPEM(pem)
			}
		}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
}

func loopback(registry string) bool {
	h, _, err := net.SplitHostPort(registry)
	if err != nil {
		h = registry
	}
	return h == "localhost" || net.ParseIP(h).IsLoopback()
}
