package gitlab_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/job"
)

var dependency = job.Dependency{ID: 8, Token: "dependency-token"}

func readAll(t *testing.T, body io.ReadCloser) string {
	t.Helper()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// bytesOf answers with exact bytes and their length.
func bytesOf(text string) http.HandlerFunc {
	return reply(200, text, "Content-Type: application/zip", "Content-Length: "+strconv.Itoa(len(text)))
}

func TestDownloadArtifact(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(500, ""), hangUp, bytesOf("PK-bytes"))
	body, size, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, false)
	if err != nil || size != 8 {
		t.Fatalf("size %d, %v", size, err)
	}
	if got := readAll(t, body); got != "PK-bytes" {
		t.Errorf("body %q", got)
	}
	sent := s.requests()[2]
	if sent.Method != http.MethodGet || sent.URI != "/api/v4/jobs/8/artifacts" || sent.Header.Get("Job-Token") != "dependency-token" ||
		sent.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("sent %+v", sent)
	}
}

// What is stored compressed must arrive as it is stored.
func TestDownloadArtifactLeavesEncodingAlone(t *testing.T) {
	t.Parallel()
	data := string(gzipped(t, "report"))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		bytesOf(data)(w, r)
	})
	body, size, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, false)
	if err != nil || size != int64(len(data)) {
		t.Fatalf("size %d, %v", size, err)
	}
	if got := readAll(t, body); got != data {
		t.Errorf("body %q", got)
	}
}

func TestDownloadArtifactDirect(t *testing.T) {
	t.Parallel()
	storage := serve(t, bytesOf("from storage"))
	s := serve(t, reply(302, "", "Location: "+storage.URL+"/bucket/key?X-Amz-Signature=presigned"))
	body, _, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, body); got != "from storage" {
		t.Errorf("body %q", got)
	}
	if got := s.requests()[0].URI; got != "/api/v4/jobs/8/artifacts?direct_download=true" {
		t.Errorf("asked for %s", got)
	}
	sent := storage.requests()[0]
	if sent.URI != "/bucket/key?X-Amz-Signature=presigned" {
		t.Errorf("storage was asked for %s", sent.URI)
	}
	for name, values := range sent.Header {
		if strings.Contains(strings.Join(values, ""), "dependency-token") || name == "Referer" {
			t.Errorf("storage got %s: %q", name, values)
		}
	}
}

func TestDownloadArtifactFallsBackToGitLab(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]http.HandlerFunc{
		"storage refuses":      reply(403, `<Error><Code>AccessDenied</Code></Error>`, "Content-Type: application/xml"),
		"storage is not there": hangUp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage := serve(t, refuse)
			s := serve(t, reply(302, "", "Location: "+storage.URL+"/key?X-Amz-Signature=presigned"), bytesOf("proxied"))
			body, _, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, true)
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, body); got != "proxied" {
				t.Errorf("body %q", got)
			}
			if got := s.requests()[1].URI; got != "/api/v4/jobs/8/artifacts" {
				t.Errorf("then asked for %s", got)
			}
			if log := s.log.String(); strings.Contains(log, "presigned") || strings.Contains(log, "dependency-token") {
				t.Errorf("the log holds a secret: %s", log)
			}
		})
	}
}

func TestDownloadArtifactErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		direct bool
		is     error
		calls  int
	}{
		"forbidden":        {reply(403, `{"message":"403 Forbidden"}`), false, gitlab.ErrForbidden, 1},
		"unauthorized":     {reply(401, ""), false, gitlab.ErrForbidden, 1},
		"not found":        {reply(404, `{"message":"404 Not found"}`), false, gitlab.ErrNotFound, 1},
		"forbidden direct": {reply(403, ""), true, gitlab.ErrForbidden, 1},
		"not found direct": {reply(404, ""), true, gitlab.ErrNotFound, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, tc.answer)
			_, _, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, tc.direct)
			if !errors.Is(err, tc.is) || errors.Is(err, gitlab.ErrJobGone) || len(s.requests()) != tc.calls {
				t.Errorf("error %v after %d requests", err, len(s.requests()))
			}
		})
	}
	s := serve(t, reply(503, ""))
	if _, _, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, false); !gitlab.Retryable(err) || len(s.requests()) != 5 {
		t.Errorf("error %v after %d requests", err, len(s.requests()))
	}
}

// An address of object storage is a secret: it is signed.
func TestDownloadArtifactErrorsHideAddresses(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]string{
		"refused":    "http://127.0.0.1:1/key?X-Amz-Signature=presigned",
		"unreadable": "http://h/%zz?X-Amz-Signature=presigned",
		"scheme":     "gopher://h/key?X-Amz-Signature=presigned",
	} {
		s := serve(t, reply(302, "", "Location: "+location))
		_, _, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, false)
		if err == nil || strings.Contains(err.Error(), "presigned") || strings.Contains(s.log.String(), "presigned") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestDownloadArtifactBreaksOff(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	body, size, err := s.client(t, nil).DownloadArtifact(t.Context(), dependency, false)
	if err != nil || size != 1000 {
		t.Fatalf("size %d, %v", size, err)
	}
	if data, err := io.ReadAll(body); err == nil {
		t.Errorf("half a download ends like a whole one: %q", data)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

func TestDownloadArtifactStalls(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := s.client(t, func(o *gitlab.Options) { o.StallTimeout = 50 * time.Millisecond })
	body, _, err := c.DownloadArtifact(t.Context(), dependency, false)
	if err == nil { // a busy machine may be too slow for the beginning, too
		defer func() { _ = body.Close() }()
		_, err = io.ReadAll(body)
	}
	if err == nil || !strings.Contains(err.Error(), "no byte moved") {
		t.Errorf("error %v; want the stall", err)
	}
}

func TestDownloadArtifactEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	body, _, err := s.client(t, nil).DownloadArtifact(ctx, dependency, true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	cancel()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
