package peer_test

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
)

func TestRegistries(t *testing.T) {
	t.Parallel()
	got := peer.Registries([]string{"alpine", "postgres:16", "registry.example.com/a/b:1", "localhost/own", "localhost:5000/x", "$CI_REGISTRY_IMAGE", "registry.example.com/$X", "UPPER case"})
	if diff := cmp.Diff([]string{"index.docker.io", "registry.example.com", "localhost:5000"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestRegistry has a registry whose certificate nobody knows, puts that where the advice says, and takes the registry away.
func TestRegistry(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	listener := s.Listener
	s.StartTLS()
	t.Cleanup(s.Close)
	at := strings.TrimPrefix(s.URL, "https://")
	dir := t.TempDir()
	check := peer.Registry(at, peer.Trust{CertDirs: []string{dir, "/nonexistent"}})
	file := filepath.Join(dir, at, "ca.crt")
	want(t, check, finding.Warning, "its certificate is not trusted", "put the certificate of whoever has signed it at "+file)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, check, finding.Fine, "it answers", "")
	refuse(t, listener)
	s.Close()
	want(t, check, finding.Warning, "connection refused", "`curl -v https://"+at+"/v2/`")
	want(t, peer.Registry("nobody.invalid", peer.Trust{}), finding.Warning, "the name nobody.invalid is not known", "name servers")

	status := http.StatusUnauthorized // to who is not logged in
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(plain.Close)
	local := peer.Registry(strings.TrimPrefix(plain.URL, "http://"), peer.Trust{})
	want(t, local, finding.Fine, "it answers", "")
	status = http.StatusBadGateway
	want(t, local, finding.Warning, "cannot be used", "curl -v")
}

// refuse has a listener take no more connections. To close it is not enough: a process that another test is starting just now
// has it, too, until it executes its program.
func refuse(t *testing.T, l net.Listener) {
	t.Helper()
	raw, err := l.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RD) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestCertDirs(t *testing.T) {
	t.Parallel()
	if got := peer.CertDirs("/home/ci"); got[0] != "/home/ci/.config/containers/certs.d" || len(got) != 3 {
		t.Error(got)
	}
	if got := peer.CertDirs(""); got[0] != "/etc/containers/certs.d" {
		t.Error(got)
	}
}
