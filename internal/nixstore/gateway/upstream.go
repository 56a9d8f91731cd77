package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// bufferSize is how much of a connection is read and written at once.
const bufferSize = 128 << 10

// wire is one side of a connection.
type wire struct {
	conn *net.UnixConn
	r    *nixwire.Reader
	w    *nixwire.Writer
}

func newWire(c *net.UnixConn) *wire {
	return &wire{conn: c, r: nixwire.NewReader(c, bufferSize), w: nixwire.NewWriter(c, bufferSize)}
}

// AwayError is that the daemon cannot be reached.
type AwayError struct {
	Socket string
	Err    error
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("The Nix daemon is not there (%s: %v). It may be restarting: try again; if this goes on, the log of the runner says why it does not start.", e.Socket, e.Err)
}

func (e *AwayError) Unwrap() error { return e.Err }

// dialer connects to the daemon.
type dialer struct {
	socket string
	wait   time.Duration // for a daemon that is away
}

// greetTime is how long a daemon that is there may take to say so.
const greetTime = 30 * time.Second

// dial connects to the daemon and returns the version that it offers. While the daemon is away it tries again, until
// ctx ends or the time is over: then the error is an AwayError.
func (d dialer) dial(ctx context.Context) (*wire, uint16, error) {
	over := time.NewTimer(d.wait)
	defer over.Stop()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		up, offer, err := d.try(ctx)
		if err == nil {
			return up, offer, nil
		}
		var bad *nixwire.MalformedError
		if ctx.Err() != nil || errors.As(err, &bad) {
			return nil, 0, errors.Join(context.Cause(ctx), err)
		}
		next := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			next.Stop()
			return nil, 0, context.Cause(ctx)
		case <-over.C:
			next.Stop()
			return nil, 0, &AwayError{Socket: d.socket, Err: err}
		case <-next.C:
		}
	}
}

func (d dialer) try(ctx context.Context) (*wire, uint16, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	if err != nil {
		return nil, 0, errors.Unwrap(err) // without the address, which the caller knows
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, 0, errors.Join(errors.ErrUnsupported, c.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	up := newWire(conn)
	offer, err := nixwire.Greet(up.r, up.w)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, 0, errors.Join(err, conn.Close())
	}
	return up, offer, nil
}

// errTrusted is that the daemon trusts the gateway.
var errTrusted = errors.New("The Nix daemon trusts the user that Skerry's gateway runs as, so nobody is served: root over the store is not for jobs. " + //nolint:staticcheck // for people
	"Take that user (or *, or its group) out of trusted-users in the daemon's nix.conf; root counts unless trusted-users is set and leaves it out")

// agree ends the handshake with the daemon. v must not be newer than what it offered.
func (w *wire) agree(v nixwire.Version, offer uint16) (nixwire.Version, nixwire.Hello, error) {
	_ = w.conn.SetDeadline(time.Now().Add(greetTime)) // of an open connection
	defer func() { _ = w.conn.SetDeadline(time.Time{}) }()
	v.Number = min(v.Number, offer)
	v, hello, err := nixwire.Agree(w.r, w.w, v)
	if err == nil && hello.Trust == nixwire.Trusted {
		err = errTrusted
	}
	return v, hello, err
}

// open is a connection of the gateway's own, with what the daemon said at the start read.
func (d dialer) open(ctx context.Context) (*wire, nixwire.Version, error) {
	up, offer, err := d.dial(ctx)
	if err != nil {
		return nil, nixwire.Version{}, err
	}
	v, _, err := up.agree(nixwire.Version{Number: nixwire.Newest}, offer)
	if err == nil {
		err = up.last(nil)
	}
	if err != nil {
		return nil, v, errors.Join(err, up.conn.Close())
	}
	return up, v, nil
}

// FailureError is what the daemon answers instead of an answer.
type failureError struct{ m nixwire.Message }

func (e *failureError) Error() string { return e.m.Text }

// last reads messages until the answer; relay, which may be nil, gets those on the way. A *failureError says that
// there is no answer.
func (w *wire) last(relay func(*nixwire.Message) error) error {
	for {
		m, err := nixwire.ReadMessage(w.r)
		switch {
		case err != nil:
			return err
		case m.Kind == nixwire.Last:
			return nil
		case m.Kind == nixwire.Failure:
			return &failureError{m: m}
		case relay == nil:
		default:
			if err := relay(&m); err != nil {
				return err
			}
		}
	}
}
