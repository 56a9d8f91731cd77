package engineapi

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "skd") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// TestDialWaits connects to an engine that comes later, and calls what starts one.
func TestDialWaits(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	calls := 0
	d, err := newDialer(Address{Host: "unix://" + path}, func(context.Context) error {
		if calls++; calls < 3 {
			return nil
		}
		l, err := net.Listen("unix", path)
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if calls != 3 {
		t.Errorf("it was started %d times, want 3", calls)
	}
}

func TestDialGivesUp(t *testing.T) {
	t.Parallel()
	d, err := newDialer(Address{Host: "unix:///no/such/socket"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.patience = 50 * time.Millisecond
	_, err = d.dial(t.Context())
	var down *UnreachableError
	if !errors.As(err, &down) || !strings.Contains(err.Error(), "systemctl") {
		t.Errorf("%v, want what to do", err)
	}
	d.patience = time.Hour
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if _, err := d.dial(ctx); !errors.Is(err, over) {
		t.Errorf("%v, want the end of the context", err)
	}
}

// TestPermission needs a user who is not root.
func TestPermission(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 0, 1); err != nil { // group daemon
			t.Fatal(err)
		}
	}
	text := unreachable(Address{Host: "unix://" + path}, syscall.EACCES).Error()
	if !strings.Contains(text, "permission denied") || !strings.Contains(text, "podman.socket") || os.Getuid() == 0 && !strings.Contains(text, "usermod -aG daemon") {
		t.Error(text)
	}
}

// TestTLSMistakes says which key is wrong.
func TestTLSMistakes(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.HandlerFunc(old))
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.HandlerFunc(old))
	t.Cleanup(plain.Close)
	trusted, empty := t.TempDir(), t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(trusted, "ca.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	const tooOld = "too old"
	tcp := func(s *httptest.Server) string { return "tcp://" + s.Listener.Addr().String() }
	for name, c := range map[string]struct {
		a    Address
		want string // tooOld means that the engine was reached
	}{
		"verified":                       {Address{Host: tcp(secure), CertPath: trusted, Verify: true}, tooOld},
		"by the system's authorities":    {Address{Host: tcp(secure), Verify: true}, "tls_cert_path"},
		"without ca.pem":                 {Address{Host: tcp(secure), CertPath: empty, Verify: true}, "ca.pem"},
		"unverified":                     {Address{Host: tcp(secure), CertPath: empty}, tooOld},
		"no TLS where it is wanted":      {Address{Host: tcp(secure)}, "tls_verify"},
		"TLS where there is none":        {Address{Host: tcp(plain), CertPath: trusted, Verify: true}, "does not speak TLS"},
		"unverified where there is none": {Address{Host: tcp(plain), CertPath: trusted}, tooOld},
		"no TLS":                         {Address{Host: tcp(plain)}, tooOld},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Connect(t.Context(), c.a, nil)
			if err == nil {
				_ = e.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestTLSClientCertificate is asked for one that it has not.
func TestTLSClientCertificate(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(old))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := Connect(t.Context(), Address{Host: "tcp://" + s.Listener.Addr().String(), CertPath: t.TempDir()}, nil)
	if err == nil || !strings.Contains(err.Error(), "cert.pem") {
		t.Errorf("%v, want to hear of the client certificate", err)
	}
}

// old is an engine of years ago.
func old(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Api-Version", "1.39")
	_, _ = w.Write([]byte("OK"))
}

// TestPingOfAStuckEngine: pings are answered, requests are not, until somebody restarts it.
func TestPingOfAStuckEngine(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, "/containers/json") {
			if !mended.Load() {
				<-q.Context().Done()
				return
			}
			_, _ = io.WriteString(w, "[]")
			return
		}
		w.Header().Set("Api-Version", "1.41")
		_, _ = io.WriteString(w, `{"Version":"4.3.1","ApiVersion":"1.41","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}`)
	}))
	t.Cleanup(s.Close)
	a := Address{Host: "tcp://" + s.Listener.Addr().String()}
	e, err := Connect(t.Context(), a, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := Ping(t.Context(), a, time.Minute, e); err != nil {
		t.Error(err)
	}
	e.stuck.Store(true) // as a request does that was not answered
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Ping(ctx, a, time.Minute, e); !IsUnreachable(err) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("%v, want to hear that it is stuck", err)
	}
	mended.Store(true)
	if err := Ping(t.Context(), a, time.Minute, e); err != nil {
		t.Errorf("after it was restarted: %v", err)
	}
	if e.stuck.Load() {
		t.Error("it is taken for stuck although it answers")
	}
}

// TestPing tells an engine that hangs from one that answers.
func TestPing(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(old))
	t.Cleanup(s.Close)
	if err := Ping(t.Context(), Address{Host: "tcp://" + s.Listener.Addr().String()}, time.Second, nil); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Ping(ctx, Address{Host: "tcp://" + l.Addr().String()}, time.Second, nil); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("%v, want to hear that it hangs", err)
	}
	if err := Ping(t.Context(), Address{Host: "unix:///no/such"}, time.Second, nil); err == nil {
		t.Error("no socket is no answer")
	}
}

// TestWhatChangesWhileItIsLookedAt asks Podman for what changes at that moment: it stumbles, and is asked again.
func TestWhatChangesWhileItIsLookedAt(t *testing.T) {
	t.Parallel()
	for wrong, want := range map[int32]bool{0: true, 2: true, breaks: false} {
		var images, containers atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			stumble := func(message string) {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.WriteString(w, `{"message":"`+message+`"}`)
			}
			switch {
			case strings.Contains(q.URL.Path, "/images/") && images.Add(1) <= wrong:
				stumble([]string{
					"failed to convert ImageData: locating image with ID b: image not known", `locating item named \"manifest\" for image with ID \"b\"`,
				}[images.Load()%2])
			case strings.Contains(q.URL.Path, "/containers/") && containers.Add(1) <= wrong:
				stumble("read /proc/15915/cgroup: no such process")
			case strings.Contains(q.URL.Path, "/images/"), strings.Contains(q.URL.Path, "/containers/"):
				_, _ = io.WriteString(w, `{"Id":"sha256:a"}`)
			default:
				w.Header().Set("Api-Version", "1.41")
				_, _ = io.WriteString(w, `{"Version":"4.3.1","ApiVersion":"1.41","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}`)
			}
		}))
		t.Cleanup(s.Close)
		e, err := Connect(t.Context(), Address{Host: "tcp://" + s.Listener.Addr().String()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		if i, err := e.Image(t.Context(), "image"); (err == nil) != want || want && i.ID != "sha256:a" {
			t.Errorf("an image after %d errors: %+v, %v", wrong, i, err)
		}
		if c, err := e.State(t.Context(), "container"); (err == nil) != want || want && c.ID != "sha256:a" {
			t.Errorf("a container after %d errors: %+v, %v", wrong, c, err)
		}
	}
}
