package gitlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// ArtifactUpload is one archive to upload.
type ArtifactUpload struct {
	Name     string // file name that the server shows: "artifacts.zip"
	Type     string // artifact_type: "archive", "junit" …; empty is the server's default, archive
	Format   string // artifact_format: "zip", "gzip", "raw"; empty is the server's default, zip
	ExpireIn string
	Size     int64 // exact, in bytes
	// Open returns the archive from its beginning. It is called for every attempt and redirect, and
	// must give the same bytes each time: the server refuses other ones.
	Open func() (io.ReadCloser, error)
	// Unanswered says that an earlier upload of the same bytes, perhaps by an earlier process, may
	// have arrived: then "another artifact of the same type already exists" is success.
	Unanswered bool
}

// UploadArtifact uploads one archive and retries. An error that is not an *Error means that the
// archive cannot be read, or is not of its Size. Others are ErrTooLarge, ErrJobGone,
// ErrArtifactExists, or a 400 whose Message is for the job's author; one that is still Retryable
// after all attempts may be tried again later, with Unanswered set.
func (j *JobClient) UploadArtifact(ctx context.Context, up ArtifactUpload) error {
	form, err := newForm(up)
	if err != nil {
		return fmt.Errorf("upload %s of job %d: %w", up.Name, j.id, err)
	}
	k := j.call("upload "+oneLine(up.Name), EndpointUpload, http.MethodPost, "/artifacts")
	k.header.Set(HeaderJobToken, j.token)
	k.header.Set("Content-Type", form.contentType)
	// So that a refusal or a redirect comes before the body, and not as a broken connection.
	k.header.Set("Expect", "100-continue")
	k.query = url.Values{}
	for name, value := range map[string]string{
		QueryArtifactType: up.Type, QueryArtifactFormat: up.Format, QueryExpireIn: up.ExpireIn,
	} {
		if value != "" {
			k.query.Set(name, value)
		}
	}
	retry := j.client.opts.Retry
	if retry.Min == 0 {
		retry.Min = time.Second
	}
	unanswered := up.Unanswered
	return retry.Do(ctx, func(ctx context.Context) error {
		err := j.uploadOnce(ctx, k, form)
		if unanswered && errors.Is(err, ErrArtifactExists) {
			return nil
		}
		unanswered = unanswered || Retryable(err)
		return err
	})
}

func (j *JobClient) uploadOnce(ctx context.Context, k call, form *form) error {
	began := time.Now()
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	guard := newGuard(j.client.opts.StallTimeout, cancel)
	defer guard.stop()
	var local atomic.Pointer[error]
	open := func() (io.ReadCloser, error) { return form.open(guard, &local) }
	body, err := open()
	if err != nil {
		return fmt.Errorf("%s: %w", k.op, err)
	}
	req, err := j.client.request(limited, k, body)
	if err != nil {
		_ = body.Close()
		return err
	}
	req.GetBody, req.ContentLength = open, form.size
	resp, err := j.client.upload.Do(req)
	if broken := local.Load(); broken != nil {
		if err == nil {
			_ = resp.Body.Close()
		}
		return fmt.Errorf("%s: %w", k.op, *broken)
	}
	if err != nil {
		j.client.observe(k.endpoint, 0, began)
		return k.unanswered(ctx, guard.explain(err), req)
	}
	defer func() { _ = resp.Body.Close() }()
	a := &answer{status: resp.StatusCode, header: resp.Header, requestID: answeredID(resp, req)}
	a.body, _ = readBounded(resp.Body, maxAnswer) // the status decides
	j.client.observe(k.endpoint, a.status, began)
	if a.status == http.StatusCreated || a.status == http.StatusOK {
		return nil
	}
	failure := j.client.failure(k, a)
	failure.exists = a.status == http.StatusBadRequest && strings.Contains(failure.Message, "already exists")
	return failure
}

// form is the multipart body of an upload; its parts are made anew for every attempt.
type form struct {
	upload      ArtifactUpload
	contentType string
	head, tail  []byte
	size        int64
}

func newForm(up ArtifactUpload) (*form, error) {
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	if _, err := w.CreateFormFile(FormFile, up.Name); err != nil {
		return nil, err
	}
	head := bytes.Clone(buf.Bytes())
	if err := w.Close(); err != nil {
		return nil, err
	}
	tail := bytes.Clone(buf.Bytes()[len(head):])
	return &form{
		upload: up, contentType: w.FormDataContentType(), head: head, tail: tail,
		size: int64(len(head)) + up.Size + int64(len(tail)),
	}, nil
}

func (f *form) open(guard *guard, local *atomic.Pointer[error]) (io.ReadCloser, error) {
	file, err := f.upload.Open()
	if err != nil {
		err = fmt.Errorf("open the archive: %w", err)
		local.Store(&err)
		return nil, err
	}
	exact := &exactReader{from: file, left: f.upload.Size, local: local}
	return &guardedBody{
		Reader: io.MultiReader(bytes.NewReader(f.head), exact, bytes.NewReader(f.tail)),
		Closer: file, guard: guard,
	}, nil
}

// exactReader reads left bytes of from, no fewer and no more, and keeps what goes wrong with that
// in local, apart from what goes wrong with the network.
type exactReader struct {
	from  io.Reader
	left  int64
	local *atomic.Pointer[error]
}

func (r *exactReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		var more [1]byte
		if n, _ := r.from.Read(more[:]); n > 0 {
			return 0, r.fail(errors.New("the archive is longer than it was when it was made"))
		}
		return 0, io.EOF
	}
	n, err := r.from.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.left > 0:
		return n, r.fail(fmt.Errorf("the archive is %d bytes shorter than it was when it was made", r.left))
	case err != nil && !errors.Is(err, io.EOF):
		return n, r.fail(fmt.Errorf("read the archive: %w", err))
	}
	return n, nil
}

func (r *exactReader) fail(err error) error {
	r.local.Store(&err)
	return err
}
