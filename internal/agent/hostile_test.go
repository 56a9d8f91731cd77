package agent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
)

// raw makes one request to the agent of p with nothing done for it.
func (p *place) raw(t testing.TB, method, path string, header map[string]string, body []byte) (int, string) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net0, error) { return p.dial(ctx) }}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(within(t), method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return 0, ""
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

func headers() map[string]string {
	return map[string]string{wire.HeaderProtocol: "100", wire.HeaderEpoch: "1"}
}

func TestAgentRefusesWhatIsNoRequest(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	other := headers()
	other[wire.HeaderProtocol] = "200"
	noEpoch := headers()
	delete(noEpoch, wire.HeaderEpoch)
	large := headers()
	large["X-Large"] = strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, method, path string
		header             map[string]string
		body               string
		want               int
	}{
		{"no headers", "GET", "/v1/hello", nil, "", 400},
		{"another major version", "GET", "/v1/hello", other, "", 400},
		{"no epoch", "GET", "/v1/hello", noEpoch, "", 400},
		{"newer minor", "GET", "/v1/hello", map[string]string{wire.HeaderProtocol: "102", wire.HeaderEpoch: "1"}, "", 200},
		{"no operation", "GET", "/v1/nothing", headers(), "", 404},
		{"body no JSON", "PUT", "/v1/job", headers(), "{", 400},
		{"epochs differ", "PUT", "/v1/job", headers(), `{"epoch":2}`, 400},
		{"ids differ", "PUT", "/v1/stages/a", headers(), `{"id":"b"}`, 400},
		{"id climbs", "PUT", "/v1/stages/..%2f..%2fetc", headers(), `{"id":"../../etc"}`, 400},
		{"id has capitals", "PUT", "/v1/stages/A", headers(), `{"id":"A"}`, 400},
		{"spool of no stage", "GET", "/v1/stages/a/spool?from=0", headers(), "", 404},
		{"ack of no stage", "POST", "/v1/stages/a/ack?to=1", headers(), "", 404},
		{"archive climbs", "GET", "/v1/archives/..%2fjob.json", headers(), "", 400},
		{"archive is hidden part", "PUT", "/v1/archives/~a", headers(), "x", 400},
	} {
		if code, body := p.raw(t, c.method, c.path, c.header, []byte(c.body)); code != c.want || code != 200 && !strings.HasPrefix(body, `{"message":`) {
			t.Errorf("%s: %d %s", c.name, code, body)
		}
	}
	if code, _ := p.raw(t, "GET", "/v1/hello", large, nil); code == 200 {
		t.Error("a megabyte of header was taken")
	}
	c := p.client(1)
	p.run(c, script("s", "true"))
	for _, path := range []string{"/v1/stages/s/spool?from=-1", "/v1/stages/s/spool?from=99999999", "/v1/stages/s/spool?from=x", "/v1/stages/s/ack?to=99999999"} {
		method := "GET"
		if strings.Contains(path, "ack") {
			method = "POST"
		}
		if code, body := p.raw(t, method, path, headers(), nil); code < 400 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// FuzzBodies sends bodies to a real agent, which must answer each and stay. The stage's id in the
// path is one that no body holds, so nothing is started.
func FuzzBodies(f *testing.F) {
	p := newPlace(f, agent.Config{})
	ops := []struct{ method, path string }{
		{"PUT", "/v1/job"}, {"PUT", "/v1/stages/only-here-7f3a"}, {"POST", "/v1/stages/none/cancel"}, {"PUT", "/v1/archives/a"},
	}
	for i, body := range []string{`{"job":"o/1","epoch":1,"left":5,"lease":-1}`, `{"id":"x","timeout":1e99}`, `{"grace":-1,"reason":"lost"}`, "\x00", `[[[[`, `{"id":{}}`} {
		f.Add(uint8(i), []byte(body)) //nolint:gosec // six
	}
	f.Fuzz(func(t *testing.T, op uint8, body []byte) {
		o := ops[int(op)%len(ops)]
		if o.path == "/v1/job" && bytes.Contains(body, []byte("lease")) {
			return // a short lease would rightly end the agent
		}
		if code, answer := p.raw(t, o.method, o.path, headers(), body); code == 0 || code == 500 {
			t.Fatalf("%s %s %q: %d %s", o.method, o.path, body, code, answer)
		}
	})
}

// liar is an agent that a job has replaced.
func liar(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	c := client.New(func(ctx context.Context) (net0, error) {
		return dialer.DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}, 1)
	t.Cleanup(c.Close)
	return c
}

func TestClientBoundsWhatALiarSends(t *testing.T) {
	t.Parallel()
	endless := func(w http.ResponseWriter, first string) {
		_, _ = io.WriteString(w, first)
		for junk := []byte(strings.Repeat("x", 64<<10)); ; {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"endless answer": func(w http.ResponseWriter, _ *http.Request) { endless(w, `{"version":"`) },
		"endless error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			endless(w, "")
		},
		"endless white space": func(w http.ResponseWriter, _ *http.Request) { endless(w, "{}") },
		"no JSON":             func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"over and not how":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"known":true,"over":true}`)) },
		"large header":        func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		},
		"number that is huge":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"at":1e999}`)) },
		"archive without size": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPartialContent) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := liar(t, h)
			ctx := within(t)
			if _, err := c.Status(ctx, "s"); err == nil && !strings.HasPrefix(name, "archive") {
				t.Error("the status was believed")
			} else if ctx.Err() != nil {
				t.Error("the client was kept")
			}
			if r, _, err := c.GetArchive(ctx, "a", 5); err == nil {
				_ = r.Close()
				t.Error("an archive from 5 was believed")
			}
		})
	}
}

func TestWaitIsNotKeptBusyAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	ctx, cancel := context.WithCancel(within(t))
	c := liar(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 4 {
			cancel()
		}
		_, _ = w.Write([]byte(`{"known":true}`)) // never waits, never over
	})
	began := time.Now()
	if _, err := c.Wait(ctx, "s"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("asked %d times in %s", asked.Load(), took)
	}
}

func TestStrangersMayNotConnect(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	if _, err := p.client(1).Hello(within(t)); err != nil {
		t.Fatal(err)
	}
	// Even with the modes out of the way, the agent asks who it is.
	stranger(t, p.dir, filepath.Join(p.dir, "sock", agent.SockName))
	shared := newPlace(t, agent.Config{Shared: true, SockDir: "here"})
	c := client.New(func(ctx context.Context) (net0, error) {
		for {
			if conn, err := agent.Dial(filepath.Join(shared.dir, "here")); err == nil || ctx.Err() != nil {
				return conn, err
			}
		}
	}, 1)
	defer c.Close()
	if _, err := c.Hello(within(t)); err != nil {
		t.Fatal(err)
	}
}
