package container

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

// callNested makes a request of the engine. The caller closes the answer's body.
func (v *environment) callNested(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return sockdir.Dial(ctx, v.engineDir(), nestedSocket)
	}, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	q, err := http.NewRequestWithContext(ctx, method, "http://nested"+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/x-tar")
	}
	r, err := transport.RoundTrip(q)
	if err != nil {
		return nil, fmt.Errorf("ask a container engine of jobs: %w", err)
	}
	if r.StatusCode/100 != 2 {
		defer r.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10)) // jobs may have written it, as they may the status line
		return nil, fmt.Errorf("ask a container engine of jobs: %d %s: %q", r.StatusCode, http.StatusText(r.StatusCode), said)
	}
	return r, nil
}
