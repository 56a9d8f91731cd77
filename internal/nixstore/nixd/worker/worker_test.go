package worker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// daemon is one that greets as a version does, and answers each request as answer says: with what comes after it.
func daemon(t testing.TB, newest uint16, trust nixwire.Trust, answer func(c *nixconn.Conn, op nixwire.Op, request []nixwire.Token)) (socket string) {
	t.Helper()
	return serve(t, func(c *nixconn.Conn) {
		if nixwire.ReadGreeting(c.R) != nil {
			return
		}
		v, err := nixwire.Offer(c.R, c.W, newest)
		if err == nil {
			err = nixwire.Welcome(c.R, c.W, v, nixwire.Hello{Nix: "2.99", Trust: trust})
		}
		c.W.Uint64(nixwire.Last)
		for err == nil {
			if err = c.W.Flush(); err != nil {
				return
			}
			var op uint64
			if op, err = c.R.Uint64(); err != nil {
				return
			}
			shape, _ := nixwire.Lookup(nixwire.Op(op))
			var request []nixwire.Token
			if request, err = nixwire.Read(c.R, v, shape.Request, &nixwire.Limit{Left: 1 << 20}); err == nil && answer != nil {
				answer(c, nixwire.Op(op), request)
			}
		}
	})
}

// serve has each connection to a socket spoken with, and closed then.
func serve(t testing.TB, speak func(c *nixconn.Conn)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nix") // short: the path of a socket has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			speak(nixconn.New(c))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return socket
}

func dial(t testing.TB, socket string) *worker.Conn {
	t.Helper()
	c, err := worker.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// fail is a daemon that refuses.
func fail(c *nixconn.Conn, text string) {
	m := nixwire.Message{Kind: nixwire.Failure, Text: text}
	m.Write(c.W)
}

func path(letter string) string {
	return nixwire.StoreDir + "/" + strings.Repeat(letter, 32) + "-" + letter
}

// TestHold makes a root before it asks, and tells what is valid.
func TestHold(t *testing.T) {
	t.Parallel()
	var asked []string
	c := dial(t, daemon(t, nixwire.Newest, nixwire.NotTrusted, func(c *nixconn.Conn, op nixwire.Op, request []nixwire.Token) {
		asked = append(asked, op.String())
		c.W.Uint64(nixwire.Last)
		if op == nixwire.AddTempRoot {
			c.W.Uint64(1)
			return
		}
		var valid []string
		for _, p := range nixconn.Paths(request) {
			if string(p) == path("a") {
				valid = append(valid, string(p))
			}
		}
		c.W.Uint64(uint64(len(valid)))
		for _, p := range valid {
			c.W.String(p)
		}
	}))
	for p, want := range map[string]bool{path("a"): true, path("b"): false} {
		asked = nil
		valid, err := c.Hold(p)
		if valid != want || err != nil {
			t.Errorf("%s: %t, %v", p, valid, err)
		}
		if d := cmp.Diff([]string{"AddTempRoot", "QueryValidPaths"}, asked); d != "" {
			t.Error(d)
		}
	}
	asked = nil
	if _, err := c.Hold("/etc/passwd"); err == nil || len(asked) > 0 {
		t.Error(asked, err)
	}
}

// TestRemove deletes what is dead, and tells what the daemon refuses from a connection that ends.
func TestRemove(t *testing.T) {
	t.Parallel()
	var asked []nixwire.Token
	c := dial(t, daemon(t, nixwire.Newest, nixwire.NotTrusted, func(c *nixconn.Conn, op nixwire.Op, request []nixwire.Token) {
		asked = request
		m := nixwire.Message{Kind: nixwire.Next, Text: "deleting"}
		m.Write(c.W)
		switch n := request[1].Int; {
		case op != nixwire.CollectGarbage:
			t.Error(op)
		case n == 1:
			fail(c, "it is alive")
		default:
			c.W.Uint64(nixwire.Last)
			c.W.Uint64(n)
			for _, p := range request[2 : 2+n] {
				c.W.String(p.Str)
			}
			c.W.Uint64(42)
			c.W.Uint64(0)
		}
	}))
	both := []string{path("a"), path("b")}
	if freed, err := c.Remove(both); freed != 42 || err != nil {
		t.Error(freed, err)
	}
	number := func(n uint64) nixwire.Token { return nixwire.Token{Int: n} }
	text := func(p string) nixwire.Token { return nixwire.Token{Kind: nixwire.Path, Str: p} }
	want := []nixwire.Token{
		number(3), {Kind: nixwire.List, Int: 2}, text(both[0]), text(both[1]),
		number(0), number(1 << 62), number(0), number(0), number(0), // what lives is to be heeded
	}
	if d := cmp.Diff(want, asked); d != "" {
		t.Error(d)
	}
	var refused *nixconn.FailureError
	if _, err := c.Remove(both[:1]); !errors.As(err, &refused) || err.Error() != "it is alive" {
		t.Error(err)
	}
	if _, err := c.Remove(both); err != nil {
		t.Error("after a refusal: ", err)
	}
	c.Close()
	if _, err := c.Remove(both); err == nil || errors.As(err, &refused) {
		t.Error(err)
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	c := dial(t, daemon(t, nixwire.Newest, nixwire.NotTrusted, func(c *nixconn.Conn, _ nixwire.Op, request []nixwire.Token) {
		switch request[0].Str {
		case path("a"):
			c.W.Uint64(nixwire.Last)
			c.W.Uint64(1)
			c.W.String("")
			c.W.String("hash")
			c.W.Uint64(2)
			c.W.String(path("c"))
			c.W.String(path("b"))
			c.W.Uint64(7) // when it came
			c.W.Uint64(1234)
			c.W.Uint64(1)
			c.W.Uint64(1)
			c.W.String("key:signature")
			c.W.String("text:sha256:x")
		case path("b"):
			c.W.Uint64(nixwire.Last)
			c.W.Uint64(0)
		default:
			fail(c, "the database is locked")
		}
	}))
	got, valid, err := c.Info(path("a"))
	want := worker.Info{
		Path: path("a"), Hash: "hash", Size: 1234, References: []string{path("b"), path("c")}, Built: true, Signatures: []string{"key:signature"}, CA: "text:sha256:x",
	}
	if d := cmp.Diff(want, got); d != "" || !valid || err != nil {
		t.Error(d, valid, err)
	}
	if _, valid, err := c.Info(path("b")); valid || err != nil {
		t.Error(valid, err)
	}
	if _, valid, err := c.Info(path("c")); valid || err == nil || err.Error() != "the database is locked" {
		t.Error(valid, err)
	}
}

// TestTrusted asks a daemon that does not say in its greeting whom it trusts for what only the trusted may.
func TestTrusted(t *testing.T) {
	t.Parallel()
	const silent = 1<<8 | 34
	for name, c := range map[string]struct {
		newest          uint16
		answer          func(c *nixconn.Conn)
		trusted, failed bool
	}{
		"says no":  {newest: nixwire.Newest, answer: func(*nixconn.Conn) { t.Error("it is asked for more") }},
		"refuses":  {newest: silent, answer: func(c *nixconn.Conn) { fail(c, "you are not privileged") }},
		"takes it": {newest: silent, answer: func(c *nixconn.Conn) { c.W.Uint64(nixwire.Last); c.W.Uint64(1) }, trusted: true},
		"ends":     {newest: silent, answer: func(c *nixconn.Conn) { _ = c.Close() }, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := dial(t, daemon(t, c.newest, nixwire.NotTrusted, func(conn *nixconn.Conn, _ nixwire.Op, _ []nixwire.Token) { c.answer(conn) }))
			if got, err := w.Trusted(); got != c.trusted || (err != nil) != c.failed {
				t.Error(got, err)
			}
			if w.Nix() != "2.99" {
				t.Errorf("its version is %q", w.Nix())
			}
		})
	}
}

// TestDialRefuses daemons that trust us, and what is none, or an ancient one.
func TestDialRefuses(t *testing.T) {
	t.Parallel()
	say := func(numbers ...uint64) []byte {
		var b []byte
		for _, n := range numbers {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		return b
	}
	for name, test := range map[string]struct {
		said []byte
		why  string
	}{
		"other": {say(1, 1), "not how a Nix daemon begins"}, "old": {say(nixwire.MagicServer, 1<<8|10), "too old"},
		"new": {say(nixwire.MagicServer, 2<<8|1), "not a version"}, "huge": {say(nixwire.MagicServer, 1<<8|35, 1<<63), "a string of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := serve(t, func(conn *nixconn.Conn) {
				_, _ = conn.Write(test.said)
				_, _ = io.Copy(io.Discard, conn) // until it is closed
			})
			if c, err := worker.Dial(t.Context(), socket); err == nil {
				c.Close()
				t.Error("it is taken for a daemon")
			} else if !strings.Contains(err.Error(), test.why) {
				t.Error(err)
			}
		})
	}
	var trusted *nixconn.TrustedError
	if _, err := worker.Dial(t.Context(), daemon(t, nixwire.Newest, nixwire.Trusted, nil)); !errors.As(err, &trusted) {
		t.Error(err)
	}
}

// TestContext ends a connection with its context, whatever the daemon does.
func TestContext(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	for name, heard := range map[string]int64{"before it greets": 8, "after it has": 8 + 24} { // bytes of the client
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			socket := serve(t, func(conn *nixconn.Conn) {
				if heard > 8 {
					conn.W.Uint64(nixwire.MagicServer)
					conn.W.Uint64(1<<8 | 35)
					_ = conn.W.Flush()
				}
				_, _ = io.CopyN(io.Discard, conn, heard)
				cancel(why)
				_, _ = io.Copy(io.Discard, conn) // until it is closed
			})
			if _, err := worker.Dial(ctx, socket); !errors.Is(err, why) {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := worker.Dial(ctx, daemon(t, nixwire.Newest, nixwire.NotTrusted, func(c *nixconn.Conn, _ nixwire.Op, _ []nixwire.Token) {
		cancel()
		_, _ = io.Copy(io.Discard, c) // until it is closed
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Hold(path("a")); err == nil {
		t.Error("it is held")
	}
}

// FuzzConn survives whatever a daemon says.
func FuzzConn(f *testing.F) {
	for _, seed := range [][]uint64{{nixwire.Last, 1, 1}, {nixwire.Last, 0, 42, 0}, {nixwire.Failure, 5, 0, 0}, {nixwire.Last, 1 << 40}} {
		var b []byte
		for _, n := range seed {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		socket := daemon(t, nixwire.Newest, nixwire.NotTrusted, func(c *nixconn.Conn, _ nixwire.Op, _ []nixwire.Token) {
			c.W.Raw(said)
			_ = c.W.Flush()
			_ = c.CloseWrite()
		})
		for _, ask := range []func(c *worker.Conn){
			func(c *worker.Conn) { _, _, _ = c.Info(path("a")) }, func(c *worker.Conn) { _, _ = c.Remove([]string{path("a")}) },
			func(c *worker.Conn) { _, _ = c.Hold(path("a")) },
		} {
			c, err := worker.Dial(t.Context(), socket)
			if err != nil {
				t.Fatal(err)
			}
			ask(c)
			c.Close()
		}
	})
}
