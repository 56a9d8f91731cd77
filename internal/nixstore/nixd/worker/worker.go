// Package worker looks after a store as a client of nix-daemon: what gateways never ask for jobs, and what they ask, too.
package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Conn is a connection to nix-daemon, for one goroutine at a time. What the daemon refuses is a *nixconn.FailureError; after
// any other error the connection is of no use.
type Conn struct {
	conn    *nixconn.Conn
	version nixwire.Version
	stop    func() bool
}

// away is how long a daemon is waited for that ends connections, as one does that is started again.
const away = time.Minute

// Dial connects to the daemon, which must not trust us: else the error is a *nixconn.TrustedError. The connection lasts no
// longer than ctx.
func Dial(ctx context.Context, socket string) (*Conn, error) {
	conn, v, err := nixconn.Dialer{Socket: socket, Wait: away}.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to nix-daemon at %s: %w", socket, err)
	}
	return &Conn{conn: conn, version: v, stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
}

// Close ends the connection, and with it its temporary roots.
func (c *Conn) Close() {
	c.stop()
	_ = c.conn.Close()
}

// Nix is the daemon's version, if it says so.
func (c *Conn) Nix() string { return c.conn.Hello.Nix }

// Protocol is the version that both speak.
func (c *Conn) Protocol() string { return c.version.String() }

// Trusted reports whether the daemon trusts us. One that has not said so in its greeting, as Nix before 2.15, is asked to
// add a build log, which only the trusted may; the connection is of no use then.
func (c *Conn) Trusted() (bool, error) {
	if c.conn.Hello.Trust != nixwire.TrustUnknown {
		return c.conn.Hello.Trust == nixwire.Trusted, nil
	}
	c.conn.W.Uint64(uint64(nixwire.AddBuildLog))
	c.conn.W.String("00000000000000000000000000000000-skerry.drv")
	err := c.refusal(patience)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// It may be slow, or wait for the log: an empty one.
		c.conn.W.Uint64(0)
		err = c.refusal(10 * patience)
	}
	var refused *nixconn.FailureError
	if errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// patience is how long a daemon takes to refuse.
const patience = 2 * time.Second

// refusal waits for the answer to what was written.
func (c *Conn) refusal(within time.Duration) error {
	if err := c.conn.W.Flush(); err != nil {
		return err
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(within)) // of an open connection
	return c.conn.Last(nil)
}

// Hold makes a path a temporary root of this connection, and reports whether it is valid then.
func (c *Conn) Hold(path string) (valid bool, err error) {
	p, err := nixwire.ParseStorePath(path)
	if err != nil {
		return false, err
	}
	all, err := c.conn.Root(c.version, []nixwire.StorePath{p}, nil)
	return all[p], err
}

// onlyDead is the kind of collection that deletes the paths that are named, unless they live.
const onlyDead = 3

// Remove deletes paths, all of which must be dead and none of which may refer to another. It returns how many bytes
// became free. A path that has come to life meanwhile is a *nixconn.FailureError, and it and those after it are still there.
func (c *Conn) Remove(paths []string) (int64, error) {
	number := func(n uint64) nixwire.Token { return nixwire.Token{Kind: nixwire.Int, Int: n} }
	request := []nixwire.Token{number(onlyDead), {Kind: nixwire.List, Int: uint64(len(paths))}}
	for _, p := range paths {
		request = append(request, nixwire.Token{Kind: nixwire.Str, Str: p})
	}
	// Heed liveness, no limit, and three numbers without meaning.
	request = append(request, number(0), number(1<<62), number(0), number(0), number(0))
	answer, err := c.conn.Call(c.version, nixwire.CollectGarbage, request, nil)
	if err != nil {
		return 0, err
	}
	return size(answer[len(answer)-2].Int), nil
}
