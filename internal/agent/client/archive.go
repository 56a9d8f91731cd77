package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/agent/wire"
)

func archivePath(name string) (string, error) {
	if !wire.ValidID(name) {
		return "", fmt.Errorf("archive name %q: want at most %d of a-z 0-9 _ . -", name, wire.MaxID)
	}
	return "/v1/archives/" + url.PathEscape(name), nil
}

// GetArchive reads an archive from offset and returns the size of the whole. The caller closes the
// reader. The size is the agent's claim: the reader never returns more than size-offset bytes, and fails
// with io.ErrUnexpectedEOF or ErrUnreachable before it returns fewer. An archive that is not there
// is a *RefusedError with status 404.
func (c *Client) GetArchive(ctx context.Context, name string, offset int64) (io.ReadCloser, int64, error) {
	path, err := archivePath(name)
	if err != nil {
		return nil, 0, err
	}
	res, err := c.do(ctx, http.MethodGet, path, nil, func(r *http.Request) {
		if offset > 0 {
			r.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		}
	})
	if err != nil {
		return nil, 0, err
	}
	size, err := wholeSize(res, offset)
	if err != nil {
		_ = res.Body.Close()
		return nil, 0, fmt.Errorf("archive %q: %w", name, err)
	}
	return &exactly{body: body{ctx: ctx, ReadCloser: res.Body}, left: size - offset}, size, nil
}

// wholeSize finds the size of the whole archive in the answer to a request from offset.
func wholeSize(res *http.Response, offset int64) (int64, error) {
	if res.StatusCode != http.StatusPartialContent {
		if offset > 0 || res.ContentLength < 0 {
			return 0, fmt.Errorf("the agent sent %s with length %d for a request from %d", res.Status, res.ContentLength, offset)
		}
		return res.ContentLength, nil
	}
	// Content-Range: bytes 100-999/1000
	_, total, ok := strings.Cut(res.Header.Get("Content-Range"), "/")
	size, err := strconv.ParseInt(total, 10, 64)
	want := fmt.Sprintf("bytes %d-%d/%d", offset, size-1, size)
	if !ok || err != nil || size < offset || res.Header.Get("Content-Range") != want {
		return 0, fmt.Errorf("the agent sent range %q for a request from %d", res.Header.Get("Content-Range"), offset)
	}
	return size, nil
}

// exactly reads so many bytes and no more.
type exactly struct {
	body
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.body.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 { //nolint:errorlint // io.Reader's own
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// PutArchive stores size bytes of r as an archive for a later stage; an archive of the name is replaced.
func (c *Client) PutArchive(ctx context.Context, name string, r io.Reader, size int64) error {
	path, err := archivePath(name)
	if err != nil {
		return err
	}
	res, err := c.do(ctx, http.MethodPut, path, io.NopCloser(r), func(req *http.Request) {
		req.ContentLength = size
		if size == 0 {
			req.Body = http.NoBody
		}
	})
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// DeleteArchive removes an archive; one that is not there is no error.
func (c *Client) DeleteArchive(ctx context.Context, name string) error {
	path, err := archivePath(name)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, path, nil, nil)
}
