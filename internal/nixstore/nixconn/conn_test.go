package nixconn_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// serve has answer talk to each connection, with its number.
func serve(t *testing.T, answer func(n int, c *nixconn.Conn)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			answer(n, nixconn.New(c))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return socket
}

// welcome is how a daemon begins.
func welcome(c *nixconn.Conn, trust nixwire.Trust) (nixwire.Version, error) {
	if err := nixwire.ReadGreeting(c.R); err != nil {
		return nixwire.Version{}, err
	}
	v, err := nixwire.Offer(c.R, c.W, nixwire.Newest)
	if err == nil {
		err = nixwire.Welcome(c.R, c.W, v, nixwire.Hello{Nix: "2.99", Trust: trust})
	}
	c.W.Uint64(nixwire.Last)
	return v, errors.Join(err, c.W.Flush())
}

// TestOpen reaches a daemon that hangs up twice before it speaks.
func TestOpen(t *testing.T) {
	t.Parallel()
	socket := serve(t, func(n int, c *nixconn.Conn) {
		if n > 1 {
			if _, err := welcome(c, nixwire.NotTrusted); err != nil {
				t.Error(err)
			}
		}
	})
	c, v, err := nixconn.Dialer{Socket: socket, Wait: 20 * time.Second}.Open(t.Context())
	if err != nil || v.Number != nixwire.Newest {
		t.Fatal(v, err)
	}
	_ = c.Close()
}

// TestNotOpened has reasons not to be connected.
func TestNotOpened(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	_, _, err := nixconn.Dialer{Socket: missing, Wait: time.Millisecond}.Open(t.Context())
	var away *nixconn.AwayError
	if !errors.As(err, &away) || !strings.Contains(err.Error(), missing) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	if _, _, err := (nixconn.Dialer{Socket: missing, Wait: time.Hour}).Open(ctx); !errors.Is(err, why) {
		t.Error(err)
	}
	trusting := serve(t, func(_ int, c *nixconn.Conn) { _, _ = welcome(c, nixwire.Trusted) })
	var trusted *nixconn.TrustedError
	if _, _, err := (nixconn.Dialer{Socket: trusting, Wait: time.Hour}).Open(t.Context()); !errors.As(err, &trusted) {
		t.Error(err)
	}
	other := serve(t, func(_ int, c *nixconn.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n")) })
	var bad *nixwire.MalformedError
	if _, _, err := (nixconn.Dialer{Socket: other, Wait: time.Hour}).Open(t.Context()); !errors.As(err, &bad) {
		t.Error(err)
	}
}

// TestRoot makes more roots than are asked for at once.
func TestRoot(t *testing.T) {
	t.Parallel()
	const count = 1000
	var paths []nixwire.StorePath
	for i := range count {
		p, err := nixwire.FromBase(strings.Repeat("0", 32) + "-" + strings.Repeat("x", i%200+1) + string(rune('a'+i%26)))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	socket := serve(t, func(_ int, c *nixconn.Conn) {
		v, err := welcome(c, nixwire.NotTrusted)
		for err == nil {
			var op uint64
			if op, err = c.R.Uint64(); err != nil {
				return
			}
			shape, _ := nixwire.Lookup(nixwire.Op(op))
			var request []nixwire.Token
			request, err = nixwire.Read(c.R, v, shape.Request, &nixwire.Limit{Left: 1 << 20})
			c.W.Uint64(nixwire.Last)
			if nixwire.Op(op) == nixwire.AddTempRoot {
				c.W.Uint64(1)
			} else { // the last one is not there
				asked := nixconn.Paths(request)
				c.W.Uint64(uint64(len(asked) - 1))
				for _, p := range asked[:len(asked)-1] {
					c.W.String(string(p))
				}
			}
			err = errors.Join(err, c.W.Flush())
		}
		t.Error(err)
	})
	c, v, err := nixconn.Dialer{Socket: socket, Wait: time.Hour}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	valid, err := c.Root(v, paths, nil)
	if err != nil || valid[paths[count-1]] || !valid[paths[0]] || len(valid) < count/2 {
		t.Error(len(valid), err)
	}
}
