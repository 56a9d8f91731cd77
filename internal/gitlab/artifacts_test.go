package gitlab_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

// archive is an upload of data that counts how often it was opened and is still open.
type archive struct {
	data         []byte
	opened, left atomic.Int64
}

type closing struct {
	io.Reader
	close func()
}

func (c closing) Close() error { c.close(); return nil }

func (a *archive) upload() gitlab.ArtifactUpload {
	return gitlab.ArtifactUpload{
		Name: "artifacts.zip", Type: "archive", Format: "zip", ExpireIn: "1 week & a day", Size: int64(len(a.data)),
		Open: func() (io.ReadCloser, error) {
			a.opened.Add(1)
			a.left.Add(1)
			// Without a WriterTo, as a file or a connection comes.
			return closing{struct{ io.Reader }{bytes.NewReader(a.data)}, func() { a.left.Add(-1) }}, nil
		},
	}
}

func newArchive(size int) *archive {
	data := make([]byte, size)
	if size > 10<<20 {
		return &archive{data: data} // never read to its end
	}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data)
	return &archive{data: data}
}

// accept reads an upload as a server does and answers status.
func accept(t *testing.T, want []byte, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength <= int64(len(want)) || len(r.TransferEncoding) != 0 {
			t.Errorf("length %d, transfer encoding %q", r.ContentLength, r.TransferEncoding)
		}
		file, header, err := r.FormFile("file")
		if err != nil {
			t.Errorf("form: %v", err)
			return
		}
		got, err := io.ReadAll(file)
		if err != nil || !bytes.Equal(got, want) || header.Filename != "artifacts.zip" {
			t.Errorf("%q: %d bytes, %v; want %d", header.Filename, len(got), err, len(want))
		}
		reply(status, "")(w, r)
	}
}

func TestUploadArtifact(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 5 << 20} {
		a := newArchive(size)
		s := serve(t, accept(t, a.data, 201))
		if err := s.client(t, nil).Job(3, "job-token").UploadArtifact(t.Context(), a.upload()); err != nil {
			t.Fatal(err)
		}
		sent := s.requests()[0]
		if sent.Method != http.MethodPost || sent.URI != "/api/v4/jobs/3/artifacts?artifact_format=zip&artifact_type=archive&expire_in=1+week+%26+a+day" {
			t.Errorf("%s %s", sent.Method, sent.URI)
		}
		if sent.Header.Get("Job-Token") != "job-token" || a.opened.Load() != 1 {
			t.Errorf("headers %v, opened %d times", sent.Header, a.opened.Load())
		}
	}
}

func TestUploadArtifactAnswers(t *testing.T) {
	t.Parallel()
	exists := reply(400, `{"message": "400 Bad request - another artifact of the same type already exists"}`)
	for name, tc := range map[string]struct {
		answers    []http.HandlerFunc
		unanswered bool
		calls      int
		is         error
		message    string
		retryable  bool
	}{
		"400":                             {answers: []http.HandlerFunc{reply(400, `{"message":"Invalid Format"}`)}, calls: 1, message: "Invalid Format"},
		"413":                             {answers: []http.HandlerFunc{reply(413, `{"message":"413 Request Entity Too Large"}`)}, calls: 1, is: gitlab.ErrTooLarge, message: "Too Large"},
		"403":                             {answers: []http.HandlerFunc{reply(403, "", "Job-Status: canceled")}, calls: 1, is: gitlab.ErrJobGone, message: "canceled"},
		"503 for ever":                    {answers: []http.HandlerFunc{reply(503, "")}, calls: 5, message: "503", retryable: true},
		"exists":                          {answers: []http.HandlerFunc{exists}, calls: 1, is: gitlab.ErrArtifactExists, message: "already exists"},
		"exists after 502":                {answers: []http.HandlerFunc{reply(502, ""), exists}, calls: 2},
		"exists after a lost answer":      {answers: []http.HandlerFunc{hangUp, exists}, calls: 2},
		"exists after an earlier process": {answers: []http.HandlerFunc{exists}, unanswered: true, calls: 1},
		"other 400 after a lost answer":   {answers: []http.HandlerFunc{hangUp, reply(400, `{"message":"no"}`)}, calls: 2, message: "no"},
		"503 then taken":                  {answers: []http.HandlerFunc{reply(503, "", "Retry-After: 4"), reply(201, "")}, calls: 2},
		"307 without address":             {answers: []http.HandlerFunc{reply(307, "")}, calls: 1, message: "307"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArchive(100000)
			s := serve(t, tc.answers...)
			up := a.upload()
			up.Unanswered = tc.unanswered
			err := s.client(t, nil).Job(3, "job-token").UploadArtifact(t.Context(), up)
			if (err != nil) != (tc.message != "") || err != nil && !strings.Contains(err.Error(), tc.message) {
				t.Errorf("error %v; want %q", err, tc.message)
			}
			if !errors.Is(err, tc.is) && tc.is != nil || gitlab.Retryable(err) != tc.retryable {
				t.Errorf("error %v (retryable %v) is not %v", err, gitlab.Retryable(err), tc.is)
			}
			if n := len(s.requests()); n != tc.calls {
				t.Errorf("%d requests, want %d", n, tc.calls)
			}
		})
	}
}

// A refusal must be seen before gigabytes are sent, not as a broken connection.
func TestUploadArtifactIsRefusedBeforeItsBody(t *testing.T) {
	t.Parallel()
	a := newArchive(50 << 20)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })
	err := s.client(t, nil).Job(3, "job-token").UploadArtifact(t.Context(), a.upload())
	if !errors.Is(err, gitlab.ErrTooLarge) || len(s.requests()) != 1 {
		t.Errorf("error %v after %d requests; want ErrTooLarge at once", err, len(s.requests()))
	}
}

func TestUploadArtifactFollowsRedirect(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"whole address": "/other/api/v4/jobs/3/artifacts?a=b", "host only": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArchive(300000)
			primary := serve(t, accept(t, a.data, 201))
			to := strings.Replace(primary.URL, "127.0.0.1", "localhost", 1) + path
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(http.StatusTemporaryRedirect)
			})
			if err := s.client(t, nil).Job(3, "job-token").UploadArtifact(t.Context(), a.upload()); err != nil {
				t.Fatal(err)
			}
			want := path
			if path == "" {
				want = s.requests()[0].URI
			}
			if sent := primary.requests()[0]; sent.URI != want || sent.Header.Get("Job-Token") != "job-token" || sent.Method != http.MethodPost {
				t.Errorf("the primary got %s %s %v; want %s", sent.Method, sent.URI, sent.Header, want)
			}
		})
	}
}

func TestUploadArtifactOfABadArchive(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for name, tc := range map[string]struct {
		change func(*gitlab.ArtifactUpload)
		want   string
	}{
		"cannot be opened": {func(up *gitlab.ArtifactUpload) {
			up.Open = func() (io.ReadCloser, error) { return nil, broken }
		}, "open the archive: disk on fire"},
		"cannot be read": {func(up *gitlab.ArtifactUpload) {
			up.Open = func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(strings.NewReader("x"), failing{broken})), nil
			}
		}, "read the archive: disk on fire"},
		"shorter": {func(up *gitlab.ArtifactUpload) { up.Size += 10 }, "10 bytes shorter"},
		"longer":  {func(up *gitlab.ArtifactUpload) { up.Size -= 10 }, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, reply(201, ""))
			up := newArchive(100000).upload()
			tc.change(&up)
			err := s.client(t, nil).Job(3, "job-token").UploadArtifact(t.Context(), up)
			var e *gitlab.Error
			if err == nil || !strings.Contains(err.Error(), tc.want) || gitlab.Retryable(err) || errors.As(err, &e) {
				t.Errorf("error %v; want %q, not from the server", err, tc.want)
			}
			if n := len(s.requests()); n > 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestUploadArtifactStalls(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 10)) // and then never again
		<-t.Context().Done()
	})
	c := s.client(t, func(o *gitlab.Options) {
		o.StallTimeout = 50 * time.Millisecond
		o.Retry.Attempts = 1
	})
	err := c.Job(3, "job-token").UploadArtifact(t.Context(), newArchive(64<<20).upload())
	if !gitlab.Retryable(err) || !strings.Contains(err.Error(), "no byte moved") {
		t.Errorf("error %v; want a retryable one about the stall", err)
	}
}

func TestUploadArtifactEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 10))
		cancel()
		<-t.Context().Done()
	})
	err := s.client(t, nil).Job(3, "job-token").UploadArtifact(ctx, newArchive(64<<20).upload())
	if !errors.Is(err, context.Canceled) || gitlab.Retryable(err) || len(s.requests()) != 1 {
		t.Errorf("error %v after %d requests", err, len(s.requests()))
	}
}

// The name of an archive comes from the job.
func TestUploadArtifactName(t *testing.T) {
	t.Parallel()
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		form, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		var part *multipart.Part
		for part, err = form.NextPart(); err == nil; part, err = form.NextPart() {
			got += part.FormName() + "=" + part.FileName() + ";"
		}
		reply(201, "")(w, r)
	})
	up := newArchive(10).upload()
	up.Name = "a\"b\r\nX-Evil: 1\r\n\r\nü.zip"
	if err := s.client(t, nil).Job(3, "job-token").UploadArtifact(t.Context(), up); err != nil {
		t.Fatal(err)
	}
	if strings.Count(got, ";") != 1 || !strings.HasPrefix(got, "file=") {
		t.Errorf("the form holds %q", got)
	}
}
