package hold

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Remote holds paths by the roots that a Server makes.
type Remote struct {
	socket, job string
	wait        time.Duration

	mu   sync.Mutex
	conn net.Conn // nil: there is none
	r    *nixwire.Reader
	w    *nixwire.Writer
}

// NewRemote returns a holder for a job whose Server listens at a socket. A server that is away is waited for.
func NewRemote(socket, job string, wait time.Duration) *Remote {
	return &Remote{socket: socket, job: job, wait: wait}
}

// refusedError is what a server says instead of doing it.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// Hold implements Holder. The error is a nixconn.AwayError when the server does not come back.
func (r *Remote) Hold(ctx context.Context, paths []nixwire.StorePath) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := time.NewTimer(r.wait)
	defer over.Stop()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := r.ask(ctx, paths)
		var refused refusedError
		if err == nil {
			return nil
		}
		if errors.As(err, &refused) {
			return fmt.Errorf("hold store paths: %w", err)
		}
		next := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			next.Stop()
			return context.Cause(ctx)
		case <-over.C:
			next.Stop()
			return &nixconn.AwayError{Socket: r.socket, Err: err}
		case <-next.C:
		}
	}
}

// releaseTime is how long a server may take to release.
const releaseTime = 5 * time.Second

// Release implements Holder.
func (r *Remote) Release(paths []nixwire.StorePath) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil {
		return
	}
	err := r.conn.SetDeadline(time.Now().Add(releaseTime))
	if err == nil {
		err = r.request(askRelease, paths)
	}
	if err != nil { // a link too many keeps a path for the time of a job
		_ = r.hangUp()
		return
	}
	_ = r.conn.SetDeadline(time.Time{}) // of an open connection
}

// Ready implements Holder.
func (*Remote) Ready(context.Context) error { return nil }

// Close implements Holder.
func (r *Remote) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hangUp()
}

func (r *Remote) hangUp() error {
	if r.conn == nil {
		return nil
	}
	err := r.conn.Close()
	r.conn = nil
	return err
}

// ask connects, unless it is, and has roots made. After an error that is not the server's the connection is gone.
func (r *Remote) ask(ctx context.Context, paths []nixwire.StorePath) error {
	if r.conn == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
		if err != nil {
			return err
		}
		r.conn, r.r, r.w = conn, nixwire.NewReader(conn, 64), nixwire.NewWriter(conn, wireBuffer)
		r.w.String(r.job)
	}
	conn := r.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := r.request(askHold, paths)
	if !stop() || err != nil {
		_ = r.hangUp()
	}
	return err
}

// request asks for something on the connection.
func (r *Remote) request(what uint64, paths []nixwire.StorePath) error {
	r.w.Uint64(what)
	r.w.Uint64(uint64(len(paths)))
	for _, p := range paths {
		r.w.String(p.Base())
	}
	if err := r.w.Flush(); err != nil {
		return err
	}
	said, err := r.r.String(maxAnswer)
	if err == nil && said != "" {
		err = refusedError(said)
	}
	return err
}
