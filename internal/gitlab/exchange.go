package gitlab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer that is no payload.
const maxAnswer = 1 << 20

// call is one request to the API.
type call struct {
	op       string
	endpoint Endpoint
	method   string
	path     string // below the API's root
	query    url.Values
	header   http.Header
	token    string // of the runner or job, to be kept out of messages
	job      bool   // token is a job's
	body     []byte
	limit    int64 // of the answer's body; 0 means maxAnswer
}

// answer is what came back, read whole.
type answer struct {
	status    int
	header    http.Header
	body      []byte
	requestID string
	tls       *tls.ConnectionState // nil over plain HTTP
}

// jsonCall completes k with body as JSON and the header that carries its token.
func jsonCall(k call, tokenHeader string, body any) (call, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return k, fmt.Errorf("%s: encode the request: %w", k.op, err)
	}
	k.body = data
	if k.header == nil {
		k.header = http.Header{}
	}
	k.header.Set("Content-Type", "application/json")
	k.header.Set(tokenHeader, k.token)
	return k, nil
}

// request makes the http.Request for k, with body if there is one.
func (c *Client) request(ctx context.Context, k call, body io.Reader) (*http.Request, error) {
	target := *c.base
	target.Path += k.path
	target.RawQuery = k.query.Encode()
	req, err := http.NewRequestWithContext(ctx, k.method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.op, plain(err))
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set(HeaderRequestID, requestID())
	return req, nil
}

// exchange makes one request and reads the answer. An error means that there is no (whole) answer.
func (c *Client) exchange(ctx context.Context, k call) (*answer, error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	var body io.Reader
	if k.body != nil {
		body = bytes.NewReader(k.body)
	}
	req, err := c.request(limited, k, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.api.Do(req)
	if err != nil {
		c.observe(k.endpoint, 0, began)
		return nil, k.unanswered(ctx, err, req)
	}
	defer func() { _ = resp.Body.Close() }()
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil && c.opts.Clock != nil {
		c.opts.Clock(at, time.Since(began))
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, requestID: answeredID(resp, req), tls: resp.TLS}
	limit := k.limit
	if limit == 0 {
		limit = maxAnswer
	}
	a.body, err = readBounded(resp.Body, limit)
	if err != nil && a.status < 300 {
		c.observe(k.endpoint, 0, began)
		return nil, k.unanswered(ctx, err, req)
	}
	c.observe(k.endpoint, a.status, began)
	return a, nil
}

func (c *Client) observe(endpoint Endpoint, status int, began time.Time) {
	c.log.Debug("GitLab was called", "endpoint", endpoint, "status", status, "took", time.Since(began))
	if c.opts.Observe != nil {
		c.opts.Observe(endpoint, status, time.Since(began))
	}
}

// readBounded reads all of r; beyond limit it is ErrBodyTooLarge.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, limit)
	}
	return body, err
}

// unanswered is the error for a request to which err came instead of an answer.
func (k call) unanswered(ctx context.Context, err error, req *http.Request) *Error {
	e := &Error{Op: k.op, RequestID: req.Header.Get(HeaderRequestID), Err: plain(err)}
	if ctx.Err() != nil {
		e.ended, e.Err = true, context.Cause(ctx)
		if !errors.Is(e.Err, ctx.Err()) {
			e.Err = fmt.Errorf("%w: %w", ctx.Err(), e.Err)
		}
	}
	return e
}

// failure is the error for an answer that is not what was hoped for.
func (c *Client) failure(k call, a *answer) *Error {
	e := &Error{
		Op: k.op, StatusCode: a.status, RequestID: a.requestID,
		JobStatus:  jobStatus(a.header),
		Message:    message(a.status, a.header, a.body),
		RetryAfter: c.opts.Retry.retryAfter(a.header),
	}
	if k.token != "" {
		e.Message = strings.ReplaceAll(e.Message, k.token, "[MASKED]")
	}
	if to := a.header.Get("Location"); a.status >= 300 && a.status < 400 && to != "" {
		e.Message = redirectMessage(to)
	}
	if k.job {
		e.gone = a.status == http.StatusForbidden || a.status == http.StatusNotFound && e.JobStatus != ""
	}
	return e
}

func redirectMessage(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "the server redirects to an address that cannot be read"
	}
	return oneLine(fmt.Sprintf("the server redirects to %s://%s, where this call is not followed; correct the runner's url",
		u.Scheme, u.Host))
}

// jobStatus returns Job-Status if it is a word, as it is shown and compared.
func jobStatus(header http.Header) string {
	status := header.Get(HeaderJobStatus)
	if len(status) > 40 || strings.ContainsFunc(status, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }) {
		return ""
	}
	return status
}

// interval returns X-GitLab-Trace-Update-Interval; 0 when it is absent or senseless.
func interval(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(strings.TrimSpace(header.Get(HeaderUpdateInterval)))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, crypto/rand
	return hex.EncodeToString(b[:])
}

// answeredID returns the id under which the server knows the request.
func answeredID(resp *http.Response, req *http.Request) string {
	if id := resp.Header.Get(HeaderRequestID); id != "" && len(id) <= 64 {
		return oneLine(id)
	}
	return req.Header.Get(HeaderRequestID)
}
