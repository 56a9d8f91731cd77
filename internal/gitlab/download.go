package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
)

// DownloadArtifact begins to download the archive of an earlier job and returns its bytes as they
// come, and their number (-1 when the server does not say). The caller closes body; ending ctx ends
// it. With direct, GitLab may send us to its object storage, which never gets to see the token; if
// that fails, the bytes are asked of GitLab itself. It retries until the bytes begin to come; a
// body that breaks off later ends in an error, and the caller begins again. Errors are ErrForbidden
// (401, 403), ErrNotFound (there is no archive, or it has expired), or Retryable.
func (c *Client) DownloadArtifact(ctx context.Context, d job.Dependency, direct bool) (body io.ReadCloser, size int64, err error) {
	if direct {
		body, size, err = c.download(ctx, d, true)
		var e *Error
		if err == nil || !errors.As(err, &e) || e.ended || !e.elsewhere && !Retryable(err) {
			return body, size, err
		}
		if e.RetryAfter > 0 && !e.elsewhere { // GitLab itself wants to be left alone first
			if err := c.opts.Retry.Wait(ctx, e.RetryAfter); err != nil {
				return nil, 0, err
			}
		}
		c.log.Info("direct download failed; asking GitLab itself for the bytes", "dependency", d.ID, "error", err)
	}
	err = c.opts.Retry.Do(ctx, func(ctx context.Context) error {
		body, size, err = c.download(ctx, d, false)
		return err
	})
	return body, size, err
}

func (c *Client) download(ctx context.Context, d job.Dependency, direct bool) (io.ReadCloser, int64, error) {
	began := time.Now()
	k := call{
		op: fmt.Sprintf("download the artifacts of job %d", d.ID), endpoint: EndpointDownload, method: http.MethodGet,
		path: fmt.Sprintf("jobs/%d/artifacts", d.ID), token: d.Token,
		header: http.Header{
			http.CanonicalHeaderKey(HeaderJobToken): {d.Token},
			"Accept":                                {"*/*"},
			// The archive's own bytes: transparent decompression would change them and their number.
			"Accept-Encoding": {"identity"},
		},
	}
	if direct {
		k.query = url.Values{QueryDirectDownload: {"true"}}
	}
	limited, cancel := context.WithCancelCause(ctx)
	req, err := c.request(limited, k, nil)
	if err != nil {
		cancel(nil)
		return nil, 0, err
	}
	resp, err := c.fetch.Do(req)
	if err != nil {
		cancel(nil)
		c.observe(k.endpoint, 0, began)
		e := k.unanswered(ctx, err, req)
		return nil, 0, e
	}
	c.observe(k.endpoint, resp.StatusCode, began)
	if resp.StatusCode != http.StatusOK {
		defer cancel(nil)
		defer func() { _ = resp.Body.Close() }()
		a := &answer{status: resp.StatusCode, header: resp.Header, requestID: answeredID(resp, req)}
		a.body, _ = readBounded(resp.Body, maxAnswer) // the status decides
		e := c.failure(k, a)
		e.elsewhere = resp.Request.URL.Host != c.base.Host
		return nil, 0, e
	}
	guard := newGuard(c.opts.StallTimeout, cancel)
	return &guardedBody{Reader: resp.Body, Closer: resp.Body, guard: guard, cancel: cancel}, resp.ContentLength, nil
}
