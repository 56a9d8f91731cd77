package gitlab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

// request is one request as the server saw it.
type request struct {
	Method, URI string
	Header      http.Header
	Length      int64
	Body        string
}

// server is a real HTTP server that answers from a script and remembers what it was asked.
type server struct {
	*httptest.Server
	log *syncBuffer // the client's log, at its most talkative

	mu     sync.Mutex
	seen   []request
	sleeps []time.Duration
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// serve starts a server. The nth request is answered by the nth handler, the last one answers all
// that follow.
func serve(t *testing.T, handlers ...http.HandlerFunc) *server {
	t.Helper()
	s := &server{log: &syncBuffer{}}
	s.Server = httptest.NewServer(s.script(handlers))
	t.Cleanup(s.Close)
	return s
}

func (s *server) script(handlers []http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := len(s.seen)
		s.seen = append(s.seen, request{Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone(), Length: r.ContentLength})
		s.mu.Unlock()
		r.Body = &recorded{ReadCloser: r.Body, server: s, n: n}
		handlers[min(n, len(handlers)-1)](w, r)
	})
}

// recorded writes what a handler reads of a body, up to about 64 KiB, into its request.
type recorded struct {
	io.ReadCloser
	server *server
	n      int
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	if seen := &r.server.seen[r.n]; len(seen.Body) < 1<<16 {
		seen.Body += string(p[:n])
	}
	return n, err
}

func (s *server) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.seen...)
}

func (s *server) slept() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Duration(nil), s.sleeps...)
}

// client returns a client whose pauses are written down instead of slept.
func (s *server) client(t *testing.T, change func(*gitlab.Options)) *gitlab.Client {
	t.Helper()
	o := gitlab.Options{
		URL:    s.URL,
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Info:   gitlab.Info{Name: "skerry", Version: "1.2.3", Revision: "abc", Executor: "shell"},
		Retry: gitlab.Retry{
			Jitter: func() float64 { return 0 },
			Sleep: func(ctx context.Context, d time.Duration) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.sleeps = append(s.sleeps, d)
				return ctx.Err()
			},
		},
	}
	if change != nil {
		change(&o)
	}
	c, err := gitlab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reply answers with a status, headers ("Name: value") and a body, after reading the request's.
func reply(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hangUp cuts the connection instead of answering.
func hangUp(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

func decode(t *testing.T, body string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatalf("body %q: %v", body, err)
	}
	return out
}

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		o    gitlab.Options
		want string
	}{
		"no url":       {gitlab.Options{}, "scheme"},
		"scheme":       {gitlab.Options{URL: "ftp://h"}, "http or https"},
		"no host":      {gitlab.Options{URL: "https:///x"}, "no host"},
		"not a url":    {gitlab.Options{URL: "https://user:secret\x01@h"}, "cannot be read"},
		"CA missing":   {gitlab.Options{URL: "https://h", TLS: gitlab.TLS{CAFile: "/does/not/exist"}}, "tls-ca-file"},
		"CA garbage":   {gitlab.Options{URL: "https://h", TLS: gitlab.TLS{CA: []byte("x")}}, "no PEM certificate"},
		"half a pair":  {gitlab.Options{URL: "https://h", TLS: gitlab.TLS{Cert: []byte("x")}}, "go together"},
		"pair garbage": {gitlab.Options{URL: "https://h", TLS: gitlab.TLS{Cert: []byte("x"), Key: []byte("y")}}, "tls-cert-file and tls-key-file"},
	} {
		_, err := gitlab.New(tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want an error with %q", name, err, tc.want)
		}
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for suffix, want := range map[string]string{
		"":               "/api/v4/runners",
		"/":              "/api/v4/runners",
		"/ci":            "/api/v4/runners",
		"/ci/":           "/api/v4/runners",
		"/gitlab":        "/gitlab/api/v4/runners",
		"/gitlab/?x=1#y": "/gitlab/api/v4/runners",
	} {
		s := serve(t, reply(204, ""))
		if err := s.client(t, func(o *gitlab.Options) { o.URL = s.URL + suffix }).Unregister(t.Context(), "tok"); err != nil {
			t.Fatal(err)
		}
		if got := s.requests()[0].URI; got != want {
			t.Errorf("url with %q: %s was called, want %s", suffix, got, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(200, `{}`))
	c := s.client(t, nil)
	if _, err := c.Verify(t.Context(), "glrt-secret", "s_123"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Job(7, "job-secret").Update(t.Context(), gitlab.Update{State: "running"}); err != nil {
		t.Fatal(err)
	}
	agent := regexp.MustCompile(`^skerry 1\.2\.3 \(abc; go[0-9.]+\S*; linux/\w+\)$`)
	id := regexp.MustCompile(`^[0-9a-f]{32}$`)
	ids := map[string]bool{}
	for i, want := range []http.Header{
		{"Runner-Token": {"glrt-secret"}, "Content-Type": {"application/json"}, "Accept": {"application/json"}},
		{"Job-Token": {"job-secret"}, "Content-Type": {"application/json"}, "Accept": {"application/json"}},
	} {
		got := s.requests()[i].Header
		for name := range want {
			if diff := cmp.Diff(want[name], got[name]); diff != "" {
				t.Errorf("request %d, header %s:\n%s", i, name, diff)
			}
		}
		if !agent.MatchString(got.Get("User-Agent")) {
			t.Errorf("User-Agent %q", got.Get("User-Agent"))
		}
		if !id.MatchString(got.Get("X-Request-Id")) {
			t.Errorf("X-Request-Id %q", got.Get("X-Request-Id"))
		}
		ids[got.Get("X-Request-Id")] = true
	}
	if len(ids) != 2 {
		t.Error("two requests had the same id")
	}
	if got := s.requests()[1].Header.Get("Runner-Token"); got != "" {
		t.Errorf("a job's call carries a runner's token %q", got)
	}
}

func TestErrorHoldsWhatIsNeededAndNoToken(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(403, `{"message": "403 Forbidden - token job-secret is bad"}`, "X-Request-Id: 01HSERVER"))
	_, err := s.client(t, nil).Job(7, "job-secret").Update(t.Context(), gitlab.Update{State: "running"})
	var e *gitlab.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no *Error", err)
	}
	want := `update of job 7: 403 Forbidden: token [MASKED] is bad (request 01HSERVER)`
	if err.Error() != want {
		t.Errorf("error\n%s, want\n%s", err, want)
	}
	if e.StatusCode != http.StatusForbidden || e.RequestID != "01HSERVER" {
		t.Errorf("error %+v", e)
	}
	if strings.Contains(s.log.String(), "job-secret") {
		t.Errorf("the log holds the token: %s", s.log)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status            int
		kind, body, wants string
	}{
		"text":       {400, "application/json", `{"message": "400 Bad request - no such thing"}`, "no such thing"},
		"repeated":   {403, "application/json", `{"message": "403 Forbidden"}`, ""},
		"map":        {400, "application/json", `{"message": {"tags_list": ["a", "b"], "base": ["c"]}}`, "base: c, tags_list: a; b"},
		"map of map": {422, "application/json", `{"message": {"x": {"y": 5}}}`, "x: y: 5"},
		"error":      {400, "application/json", `{"error": "token is missing"}`, "token is missing"},
		"oauth":      {401, "application/json", `{"error": "invalid_token", "error_description": "Token was revoked."}`, "invalid_token: Token was revoked."},
		"both":       {400, "application/json", `{"message": "a", "error": "b"}`, "a: b"},
		"xml":        {403, "application/xml", `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Not you</Message><StringToSign>s3cr3t</StringToSign></Error>`, "AccessDenied: Not you"},
		"html":       {502, "text/html", `<html><body>Bad gateway</body></html>`, ""},
		"plain":      {429, "text/plain", "Retry later\n", "Retry later"},
		"terminal":   {400, "application/json", `{"message": "a\u001b[31m\r\nb"}`, "a [31m b"},
		"binary":     {400, "application/octet-stream", "\x00\x01", ""},
		"not json":   {400, "application/json", `{"message": `, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, reply(tc.status, tc.body, "Content-Type: "+tc.kind))
			err := s.client(t, nil).Unregister(t.Context(), "glrt-0123456789")
			var e *gitlab.Error
			if !errors.As(err, &e) || e.Message != tc.wants {
				t.Errorf("message of %v is not %q", err, tc.wants)
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	endless := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		chunk := bytes.Repeat([]byte("x"), 1<<16)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	s := serve(t, endless)
	_, err := s.client(t, nil).Verify(t.Context(), "tok", "")
	if !errors.Is(err, gitlab.ErrBodyTooLarge) || gitlab.Retryable(err) {
		t.Errorf("error %v; want ErrBodyTooLarge, not retryable", err)
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestGzipAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(gzipped(t, `{"id": 5, "token": "x"}`))
	})
	got, err := s.client(t, nil).RequestJob(t.Context(), gitlab.JobRequest{Token: "tok"})
	if err != nil || string(got.Payload) != `{"id": 5, "token": "x"}` {
		t.Errorf("RequestJob = %+v, %v", got, err)
	}
}

func TestAPIRedirects(t *testing.T) {
	t.Parallel()
	t.Run("308 on the same host is followed with the body", func(t *testing.T) {
		t.Parallel()
		s := serve(t, reply(308, "", "Location: /elsewhere/runners"), reply(204, ""))
		if err := s.client(t, nil).Unregister(t.Context(), "tok"); err != nil {
			t.Fatal(err)
		}
		if got := s.requests()[1]; got.Method != http.MethodDelete || got.URI != "/elsewhere/runners" || got.Body != `{"token":"tok"}` {
			t.Errorf("after the redirect: %+v", got)
		}
	})
	t.Run("302 is shown, not followed by a GET", func(t *testing.T) {
		t.Parallel()
		s := serve(t, reply(302, "", "Location: https://sso.example.com/login?secret=1"))
		err := s.client(t, nil).Unregister(t.Context(), "tok")
		if err == nil || !strings.Contains(err.Error(), "redirects to https://sso.example.com,") || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
		if n := len(s.requests()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
	t.Run("another host does not get the token", func(t *testing.T) {
		t.Parallel()
		other := serve(t, reply(204, ""))
		to := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
		s := serve(t, reply(307, "", "Location: "+to+"/x"))
		if err := s.client(t, nil).Unregister(t.Context(), "tok"); err == nil {
			t.Error("no error")
		}
		if n := len(other.requests()); n != 0 {
			t.Errorf("the other host got %d requests", n)
		}
	})
	t.Run("a loop ends", func(t *testing.T) {
		t.Parallel()
		s := serve(t, reply(307, "", "Location: /again"))
		if err := s.client(t, nil).Unregister(t.Context(), "tok"); err == nil {
			t.Error("no error")
		}
		if n := len(s.requests()); n > 7 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestObserve(t *testing.T) {
	t.Parallel()
	type seen struct {
		endpoint gitlab.Endpoint
		status   int
	}
	var got []seen
	s := serve(t, reply(204, ""), hangUp)
	c := s.client(t, func(o *gitlab.Options) {
		o.Observe = func(e gitlab.Endpoint, status int, took time.Duration) {
			if took <= 0 {
				t.Errorf("it took %v", took)
			}
			got = append(got, seen{e, status})
		}
	})
	_, _ = c.RequestJob(t.Context(), gitlab.JobRequest{})
	_, _ = c.RequestJob(t.Context(), gitlab.JobRequest{})
	want := []seen{{gitlab.EndpointRequestJob, 204}, {gitlab.EndpointRequestJob, 0}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(seen{})); diff != "" {
		t.Error(diff)
	}
}
