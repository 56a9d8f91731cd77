package gitlab

import (
	"context"
	"net/http"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// JobResponse is an answer to a request for a job.
type JobResponse struct {
	// Status is 201 (Payload holds a job), 204 (none) or 409 (another manager was faster: ask again
	// at once); beside an error, what came instead.
	Status     int
	Payload    []byte        // the job's JSON as received, for jobpayload.Translate and to be kept; nil unless Status is 201
	LastUpdate string        // for the next JobRequest; "" when the server sent none: keep the earlier one
	TLS        TLSData       // for the job; zero unless Status is 201
	RetryAfter time.Duration // how long the server wants to be left alone; 0 when it did not say
	RequestID  string
}

// RequestJob asks for a job. With r.LastUpdate the server may hold the request open for most of a
// minute; ending ctx ends it at once, and a job that was handed out just then is lost until the
// server notices. It makes one request. An error is ErrForbidden when the runner is gone, or
// Retryable (429, 5xx, no answer); the JobResponse is not nil whenever an answer came.
func (c *Client) RequestJob(ctx context.Context, r JobRequest) (*JobResponse, error) {
	r.Info = c.info(r.Info)
	k, err := jsonCall(call{
		op: "request a job", endpoint: EndpointRequestJob, method: http.MethodPost, path: "jobs/request",
		token: r.Token, limit: jobpayload.MaxPayload,
	}, HeaderRunnerToken, r)
	if err != nil {
		return nil, err
	}
	a, err := c.exchange(ctx, k)
	if err != nil {
		return nil, err
	}
	out := &JobResponse{
		Status:     a.status,
		LastUpdate: a.header.Get(HeaderLastUpdate),
		RetryAfter: c.opts.Retry.retryAfter(a.header),
		RequestID:  a.requestID,
	}
	switch a.status {
	case http.StatusCreated:
		out.Payload, out.TLS = a.body, c.pool.data(a.tls)
		return out, nil
	case http.StatusNoContent, http.StatusConflict:
		return out, nil
	default:
		return out, c.failure(k, a)
	}
}
