package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"syscall"

	"gitlab.com/skerry/skerry/internal/terminal"
)

// maxAnswer bounds an answer that is not a stream, in bytes.
const maxAnswer = 64 << 20

// Client asks the runner that has a state directory.
type Client struct {
	dir       string
	transport *http.Transport
}

// NewClient returns a client of the runner that works in the state directory dir. Close releases its connection.
func NewClient(dir string) *Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	c := &Client{dir: dir}
	c.transport = &http.Transport{
		Protocols: protocols, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 1 << 20},
	}
	return c
}

// Close releases the connection.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// NotRunningError says that no runner serves the state directory.
type NotRunningError struct {
	Dir string
	Err error
}

func (e *NotRunningError) Error() string {
	return fmt.Sprintf("no runner answers on %s: start `skerry run`, or name its state directory with --state-dir (it is in the line `Runner is ready` of its log)",
		filepath.Join(e.Dir, SocketName))
}

// Unwrap returns the cause.
func (e *NotRunningError) Unwrap() error { return e.Err }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	dir, err := openDir(c.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = &NotRunningError{Dir: c.dir, Err: err}
		}
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), SocketName))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, &NotRunningError{Dir: c.dir, Err: err}
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the runner's socket %s is for the runner's user and root only: run this command as one of them", filepath.Join(c.dir, SocketName))
	case err != nil:
		return nil, err
	}
	return conn, nil
}

// Refusal is an answer of the runner that says no.
//
//nolint:errname // it is an answer, and "RefusalError" would say no more
type Refusal struct {
	Status  int
	Message string
}

func (r *Refusal) Error() string { return r.Message }

func (c *Client) do(ctx context.Context, method, path string, body io.ReadCloser) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://runner"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask the runner: %w", err)
	}
	if body == nil {
		req.Body = nil
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what came is said
	var e Error
	if json.Unmarshal(b, &e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("the runner answers %s: is it of another version?", res.Status)
	}
	return nil, &Refusal{Status: res.StatusCode, Message: e.Message}
}

func jobPath(id, rest string) string { return "/v1/jobs/" + url.PathEscape(id) + rest }

// Jobs lists the runner's jobs.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	res, err := c.do(ctx, http.MethodGet, "/v1/jobs", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var jobs Jobs
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&jobs); err != nil {
		return nil, fmt.Errorf("the runner's list of jobs: %w", err)
	}
	return jobs.Jobs, nil
}

// Release removes the kept environment of a job.
func (c *Client) Release(ctx context.Context, id string) error {
	res, err := c.do(ctx, http.MethodPost, jobPath(id, "/release"), nil)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// Prune has what nothing uses removed from the container engine that listens on a socket, if a runner has it.
func (c *Client) Prune(ctx context.Context, socket string) (p Pruned, err error) {
	res, err := c.do(ctx, http.MethodPost, "/v1/prune?socket="+url.QueryEscape(socket), nil)
	if err != nil {
		return p, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&p); err != nil {
		return p, fmt.Errorf("the runner's account of what it has removed: %w", err)
	}
	return p, nil
}

// LogStream is a job's log as it comes.
type LogStream struct {
	From int64 // the offset of its first byte
	res  *http.Response
}

// Read returns io.EOF when the log is complete, or when the runner stopped: Result tells.
func (l *LogStream) Read(p []byte) (int, error) { return l.res.Body.Read(p) }

// Close ends it.
func (l *LogStream) Close() error { return l.res.Body.Close() }

// ErrCut says that a log ended before its job: the runner stopped.
var ErrCut = errors.New("the runner stopped before the job was over")

// Result is the job's, after Read has returned io.EOF.
func (l *LogStream) Result() (r Result, err error) {
	text := l.res.Trailer.Get(TrailerResult)
	if text == "" {
		return r, ErrCut
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, fmt.Errorf("the job's result: %w", err)
	}
	return r, nil
}

// Log reads a job's log from byte from or, with tail >= 0, from its last tail lines on. The caller closes it.
func (c *Client) Log(ctx context.Context, id string, from int64, tail int) (*LogStream, error) {
	query := "/log?from=" + strconv.FormatInt(from, 10)
	if tail >= 0 {
		query = "/log?tail=" + strconv.Itoa(tail)
	}
	res, err := c.do(ctx, http.MethodGet, jobPath(id, query), nil)
	if err != nil {
		return nil, err
	}
	l := &LogStream{res: res}
	if l.From, err = strconv.ParseInt(res.Header.Get(HeaderFrom), 10, 64); err != nil {
		return nil, errors.Join(errors.New("the runner does not say where in the log it begins"), res.Body.Close())
	}
	return l, nil
}

// body is a request's body that can be woken: the transport waits for its reader.
type body struct {
	io.Reader
	io.Closer
}

// Opened is a terminal in a job's place.
type Opened struct {
	*terminal.Stream

	end func()
}

// Close ends the program. It may be called again, also while others send and receive.
func (o *Opened) Close() { o.end() }

// Terminal opens a terminal in a job's place. It ends with its program, with ctx, or with Close.
func (c *Client) Terminal(ctx context.Context, id string, t Terminal) (*Opened, error) {
	var begin bytes.Buffer
	if err := terminal.New(nil, &begin, nil).SendJSON(terminal.Begin, t); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	typed, typing := io.Pipe()
	end := func() {
		cancel()
		_ = typing.CloseWithError(context.Canceled) // always nil
	}
	res, err := c.do(ctx, http.MethodPost, jobPath(id, "/terminal"), body{io.MultiReader(&begin, typed), typed})
	if err != nil {
		end()
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = res.Body.Close() })
	return &Opened{Stream: terminal.New(res.Body, typing, nil), end: end}, nil
}
