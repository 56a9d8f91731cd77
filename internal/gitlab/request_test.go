package gitlab_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestRequestJob(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer    http.HandlerFunc
		status    int
		payload   string
		update    string
		after     time.Duration
		is        error
		failed    bool
		retryable bool
	}{
		"a job":       {answer: reply(201, `{"id": 1}`, "X-GitLab-Last-Update: abc"), status: 201, payload: `{"id": 1}`, update: "abc"},
		"none":        {answer: reply(204, "", "X-GitLab-Last-Update: v2"), status: 204, update: "v2"},
		"conflict":    {answer: reply(409, `{"message": "409 Conflict"}`), status: 409},
		"gone":        {answer: reply(403, ""), status: 403, is: gitlab.ErrForbidden, failed: true},
		"too many":    {answer: reply(429, "", "Retry-After: 7"), status: 429, after: 7 * time.Second, failed: true, retryable: true},
		"unavailable": {answer: reply(503, "", "Retry-After: 3"), status: 503, after: 3 * time.Second, failed: true, retryable: true},
		"500":         {answer: reply(500, ""), status: 500, failed: true, retryable: true},
		"portal":      {answer: reply(200, "<html>log in</html>", "Content-Type: text/html"), status: 200, failed: true},
		"422":         {answer: reply(422, ""), status: 422, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, tc.answer)
			got, err := s.client(t, nil).RequestJob(t.Context(), gitlab.JobRequest{
				Token: "tok", SystemID: "s_1", LastUpdate: "v1", Session: &gitlab.Session{URL: "https://me"},
			})
			if (err != nil) != tc.failed || gitlab.Retryable(err) != tc.retryable || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %v (retryable %v)", err, gitlab.Retryable(err))
			}
			if got == nil || got.Status != tc.status || string(got.Payload) != tc.payload || got.LastUpdate != tc.update || got.RetryAfter != tc.after {
				t.Errorf("answer %+v", got)
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("%d requests: the caller has the loop", n)
			}
			body := decode(t, s.requests()[0].Body)
			session, _ := body["session"].(map[string]any)
			if body["token"] != "tok" || body["system_id"] != "s_1" || body["last_update"] != "v1" || session["url"] != "https://me" {
				t.Errorf("sent %v", body)
			}
		})
	}
}

func TestRequestJobCutOff(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"no answer": hangUp,
		"half a payload": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"id": 1`)
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := serve(t, answer).client(t, nil).RequestJob(t.Context(), gitlab.JobRequest{Token: "tok"})
			if err == nil || got != nil || !gitlab.Retryable(err) {
				t.Errorf("RequestJob = %+v, %v; want a retryable error only", got, err)
			}
		})
	}
}

func TestRequestJobEndsWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	cause := errors.New("the runner stops")
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(asked)
		<-r.Context().Done() // long polling: until the client hangs up
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(cause)
	}()
	_, err := s.client(t, nil).RequestJob(ctx, gitlab.JobRequest{Token: "tok"})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) || gitlab.Retryable(err) {
		t.Errorf("error %v (retryable %v); want the context's end and its cause", err, gitlab.Retryable(err))
	}
}

func TestRequestJobTimesOut(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	c := s.client(t, func(o *gitlab.Options) { o.Timeout = 20 * time.Millisecond })
	if _, err := c.RequestJob(t.Context(), gitlab.JobRequest{}); !gitlab.Retryable(err) {
		t.Errorf("error %v is not retryable, though only the server is slow", err)
	}
}

func TestRequestJobPayloadIsBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		chunk := bytes.Repeat([]byte(" "), 1<<20)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if _, err := s.client(t, nil).RequestJob(t.Context(), gitlab.JobRequest{}); !errors.Is(err, gitlab.ErrBodyTooLarge) {
		t.Errorf("error %v; want ErrBodyTooLarge", err)
	}
}

func TestSupportedFeatures(t *testing.T) {
	t.Parallel()
	shell := gitlab.Supported(gitlab.ExecutorFeatures{Shared: true})
	if !shell.Variables || !shell.CancelGracefully || !shell.TwoPhaseJobCommit || !shell.Shared {
		t.Errorf("shell: %+v", shell)
	}
	if shell.Image || shell.Services || shell.Session || shell.Terminal || shell.VaultSecrets || shell.NativeStepsIntegration || shell.Proxy {
		t.Errorf("shell claims what it has not: %+v", shell)
	}
	container := gitlab.Supported(gitlab.ExecutorFeatures{Containers: true, Session: true, Proxy: true})
	if !container.Image || !container.ServiceVariables || !container.Terminal || !container.Proxy || container.Shared {
		t.Errorf("container: %+v", container)
	}
}
