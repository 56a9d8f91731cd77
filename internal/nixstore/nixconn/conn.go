// Package nixconn is a connection to a Nix daemon: reaching one that may be away for a while, the handshake, and asking
// the same of many paths at once. Connections are for one goroutine at a time.
package nixconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"

	"golang.org/x/sys/unix"
)

// BufferSize is how much of a connection is read and written at once.
const BufferSize = 128 << 10

// Conn is a connection that speaks the protocol, on whichever side.
type Conn struct {
	*net.UnixConn

	R *nixwire.Reader
	W *nixwire.Writer
	// Hello is what the daemon has said of itself, from Agree on.
	Hello nixwire.Hello

	unprivileged bool // of the Dialer
}

// New takes over a connection.
func New(c *net.UnixConn) *Conn {
	return &Conn{UnixConn: c, R: nixwire.NewReader(newSource(c), BufferSize), W: nixwire.NewWriter(c, BufferSize)}
}

// source reads from a connection, and knows whether it would have to wait.
type source struct {
	*net.UnixConn

	raw syscall.RawConn // nil: there is none
}

func newSource(c *net.UnixConn) source {
	raw, err := c.SyscallConn()
	if err != nil {
		raw = nil
	}
	return source{UnixConn: c, raw: raw}
}

// ReadNow reads what is there, if anything is. Errors are for the next Read.
func (s source) ReadNow(p []byte) (n int) {
	if s.raw == nil {
		return 0
	}
	_ = s.raw.Read(func(fd uintptr) bool { // closed, or past its deadline: Read says so
		n, _ = syscall.Read(int(fd), p) //nolint:gosec // a descriptor
		return true
	})
	return max(n, 0)
}

// AwayError is that the daemon cannot be reached.
type AwayError struct {
	Socket string
	Err    error
	whom   string // connects
}

func (e *AwayError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("The Nix daemon's socket %s is closed to %s, as which Skerry's gateway connects (%v). Everybody must be able to reach and write to it, as Nix makes it.", e.Socket, e.whom, e.Err)
	case errors.Is(e.Err, io.EOF), errors.Is(e.Err, syscall.ECONNRESET), errors.Is(e.Err, syscall.EPIPE):
		return fmt.Sprintf("The Nix daemon at %s ends connections before it has said anything. It may be ending, or allowed-users in its nix.conf leaves out %s, as which Skerry's gateway connects: its log says so.", e.Socket, e.whom)
	}
	return fmt.Sprintf("The Nix daemon is not there (%s: %v). It may be restarting: try again; if this goes on, the log of the runner says why it does not start.", e.Socket, e.Err)
}

func (e *AwayError) Unwrap() error { return e.Err }

// Dialer connects to a daemon.
type Dialer struct {
	Socket string
	Wait   time.Duration // for a daemon that is away
	// Unprivileged has the daemon see Nobody where this process is root, whom daemons trust by default.
	Unprivileged bool
}

// greetTime is how long a daemon that is there may take to say so.
const greetTime = 30 * time.Second

// Dial connects to the daemon and returns the version that it offers. While the daemon is away it tries again, until
// ctx ends or the time is over: then the error is an AwayError.
func (d Dialer) Dial(ctx context.Context) (*Conn, uint16, error) {
	over := time.NewTimer(d.Wait)
	defer over.Stop()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		up, offer, err := d.try(ctx)
		if err == nil {
			return up, offer, nil
		}
		var bad *nixwire.MalformedError
		var user *UserError
		if ctx.Err() != nil || errors.As(err, &bad) || errors.As(err, &user) {
			return nil, 0, errors.Join(context.Cause(ctx), err)
		}
		next := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			next.Stop()
			return nil, 0, context.Cause(ctx)
		case <-over.C:
			next.Stop()
			return nil, 0, &AwayError{Socket: d.Socket, Err: err, whom: whom(d.Unprivileged)}
		case <-next.C:
		}
	}
}

func (d Dialer) try(ctx context.Context) (*Conn, uint16, error) {
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	conn, err := connect(d.Socket, d.Unprivileged)
	if err != nil {
		return nil, 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	up := New(conn)
	up.unprivileged = d.Unprivileged
	offer, err := nixwire.Greet(up.R, up.W)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, 0, errors.Join(err, conn.Close())
	}
	return up, offer, nil
}

// TrustedError is that the daemon trusts the user whom it sees.
type TrustedError struct{ Whom string }

func (e *TrustedError) Error() string {
	return "The Nix daemon trusts " + e.Whom + ", as which Skerry's gateway connects, so nobody is served: root over the store is not for jobs. " +
		"Take that user (or *, or a group of it) out of trusted-users in the daemon's nix.conf and restart the daemon; root counts unless trusted-users is set and leaves it out"
}

// Agree ends the handshake with the daemon. v must not be newer than what it offered.
func (c *Conn) Agree(v nixwire.Version, offer uint16) (nixwire.Version, nixwire.Hello, error) {
	_ = c.SetDeadline(time.Now().Add(greetTime)) // of an open connection
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	v.Number = min(v.Number, offer)
	v, hello, err := nixwire.Agree(c.R, c.W, v)
	c.Hello = hello
	if err == nil && hello.Trust == nixwire.Trusted {
		err = &TrustedError{whom(c.unprivileged)}
	}
	return v, hello, err
}

// OldError is that the daemon speaks no version that is known here.
type OldError struct{ Offer uint16 }

func (e *OldError) Error() string {
	return fmt.Sprintf("The Nix daemon is too old: it speaks protocol %s, and Skerry needs %s (Nix 2.4) or later",
		nixwire.VersionString(e.Offer), nixwire.VersionString(nixwire.Oldest))
}

// Open connects to the daemon and takes the newest version of both, to ask something of one's own. When ctx ends meanwhile,
// so does Open; the connection is not bound to it.
func (d Dialer) Open(ctx context.Context) (*Conn, nixwire.Version, error) {
	up, offer, err := d.Dial(ctx)
	if err != nil {
		return nil, nixwire.Version{}, err
	}
	if offer < nixwire.Oldest {
		return nil, nixwire.Version{}, errors.Join(&OldError{offer}, up.Close())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, greetTime, errMute)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = up.Close() }) // which no deadline that is taken back undoes
	v, _, err := up.Agree(nixwire.Version{Number: nixwire.Newest}, offer)
	if err == nil {
		err = up.Last(nil)
	}
	if !stop() {
		return nil, v, errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return nil, v, errors.Join(err, up.Close())
	}
	return up, v, nil
}

var errMute = fmt.Errorf("the Nix daemon has said nothing more for %s after its greeting", greetTime)

// Silent reports whether the other side has said nothing that is still to be read, and has not hung up. A daemon that does
// not wait in silence for an operation will not serve one: Lix says twice why it ends a connection.
func (c *Conn) Silent() bool {
	if c.R.Buffered() {
		return false
	}
	silent := false
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		n, _ := again(func() (int, error) {
			return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}, 0) //nolint:gosec // a descriptor
		})
		silent = n == 0
	})
	return err == nil && silent
}

// FailureError is what a daemon says instead of an answer.
type FailureError struct{ Message nixwire.Message }

func (e *FailureError) Error() string { return e.Message.Text }

// Last reads messages until the answer; relay, which may be nil, gets those on the way. A *FailureError says that
// there is no answer.
func (c *Conn) Last(relay func(*nixwire.Message) error) error {
	for {
		m, err := nixwire.ReadMessage(c.R)
		switch {
		case err != nil:
			return err
		case m.Kind == nixwire.Last:
			return nil
		case m.Kind == nixwire.Failure:
			return &FailureError{Message: m}
		case relay == nil:
		default:
			if err := relay(&m); err != nil {
				return err
			}
		}
	}
}
