// Package client is the runner's side of the wire: it drives one agent over the connection that an
// executor's Dial returns.
//
// What the agent says is hostile input, because root in the job can replace it: answers are
// bounded in size and number, nothing of them is kept in memory beyond that, a stream is read no faster than its
// reader takes it, and names are checked before they are sent. What an agent says of a stage (its
// result, its output) is a claim of the job's own author and no more.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
)

// The bounds of what an agent may send and hold.
const (
	maxAnswer  = 4 << 20 // JSON: a result with thousands of archives
	maxError   = 4 << 10
	maxHeader  = 16 << 10
	maxFrame   = 1 << 20
	maxPending = 4 << 20 // received and not yet read, a stream
	quiet      = 30 * time.Second
)

// ErrFenced says that the agent obeys a newer runner process: this one must let go of the job.
var ErrFenced = errors.New("a newer runner process has taken this job over")

// ErrUnreachable says that the connection could not be made or broke; it wraps the cause, that of dial
// included, which may be an executor's diagnosis. The request may have been carried out: every
// operation may be repeated.
var ErrUnreachable = errors.New("the agent cannot be reached")

// RefusedError is an answer of the agent that says no.
type RefusedError struct {
	Status  int    // HTTP
	Message string // the agent's words, bounded; hostile
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the agent refused (%d): %s", e.Status, e.Message)
}

// Client drives one agent. All methods may be called concurrently; they share one connection, made
// when it is first needed and again after it broke.
type Client struct {
	epoch     string
	number    int64
	transport *http.Transport
}

// New returns a client of the agent that dial connects to, in the name of the runner process with
// this epoch. dial must return when its ctx ends. Close releases the connection.
func New(dial func(ctx context.Context) (net.Conn, error), epoch int64) *Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &Client{
		epoch: strconv.FormatInt(epoch, 10), number: epoch,
		transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := dial(ctx)
				if err != nil {
					return nil, &dialError{err}
				}
				return conn, nil
			},
			Protocols:              protocols,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
			HTTP2: &http.HTTP2Config{
				MaxReadFrameSize: maxFrame, MaxReceiveBufferPerStream: maxPending, MaxReceiveBufferPerConnection: 4 * maxPending,
				SendPingTimeout: quiet, PingTimeout: quiet, // a connection that died silently is noticed
			},
		},
	}
}

// Close releases the connection. Requests in progress go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Hello asks the agent for itself and its place. An agent that this runner must not drive is a
// *wire.VersionError beside what it said.
func (c *Client) Hello(ctx context.Context) (h wire.Hello, err error) {
	if err := c.call(ctx, http.MethodGet, "/v1/hello", nil, &h); err != nil {
		return h, err
	}
	return h, wire.Compatible(wire.Protocol, h.Protocol)
}

// Handover binds the agent to a job; its Epoch is set to the client's. It also sets the job's
// deadline anew: stages that are due after the deadline (cleaning up) need a handover with time left.
func (c *Client) Handover(ctx context.Context, h wire.Handover) error {
	h.Epoch = c.number
	return c.call(ctx, http.MethodPut, "/v1/job", h, nil)
}

// Lease makes contact.
func (c *Client) Lease(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/lease", nil, nil)
}

// Nix asks what the job has had of its Nix store, of an agent whose Hello says that it has a gateway.
func (c *Client) Nix(ctx context.Context) (n wire.Nix, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/nix", nil, &n)
	return n, err
}

// Shutdown ends every process of the agent, and then the agent. It returns when the processes have ended.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/shutdown", nil, nil)
}

// call makes a request with a JSON body (none if in is nil) and reads a JSON answer into out
// (ignored if out is nil).
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode a request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	res, err := c.do(ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return unreachable(ctx, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("the agent's answer to %s %s has more than %d bytes", method, path, maxAnswer)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("the agent's answer to %s %s: %w", method, path, err)
	}
	return nil
}

// do makes a request and returns the answer if it is 2xx. The caller closes its body.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, prepare func(*http.Request)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set(wire.HeaderProtocol, strconv.Itoa(wire.Protocol))
	req.Header.Set(wire.HeaderEpoch, c.epoch)
	if prepare != nil {
		prepare(req)
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusGone {
		return nil, ErrFenced
	}
	return nil, &RefusedError{Status: res.StatusCode, Message: message(res.Body)}
}

func message(body io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(body, maxError)) // what came is said
	var e wire.Error
	if json.Unmarshal(b, &e) == nil && e.Message != "" {
		return e.Message
	}
	return strconv.QuoteToASCII(string(b))
}

// DialFailed reports whether err is of dial, and not of a connection that it had made.
func DialFailed(err error) bool {
	var failed *dialError
	return errors.As(err, &failed)
}

// dialError is an error of the executor's Dial.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// unreachable is err as the caller sees it: the end of its own ctx stays what it is.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
