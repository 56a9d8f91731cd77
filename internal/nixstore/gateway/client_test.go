package gateway_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// newGateway serves upstream until the test ends.
func newGateway(t testing.TB, c gateway.Config) (*gateway.Gateway, string) {
	t.Helper()
	if c.Listen == "" {
		dir, err := os.MkdirTemp("", "gate")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		c.Listen = filepath.Join(dir, "socket")
	}
	g, err := gateway.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- g.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error("serve:", err)
		}
	})
	return g, c.Listen
}

// client is a client of the protocol.
type client struct {
	conn  net.Conn
	r     *nixwire.Reader
	w     *nixwire.Writer
	v     nixwire.Version
	hello nixwire.Hello
	said  []nixwire.Message
}

// connect connects and introduces itself; the error is what the daemon says at the start.
func connect(t testing.TB, socket string, minor uint16) (*client, error) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c := &client{conn: conn, r: nixwire.NewReader(conn, 4096), w: nixwire.NewWriter(conn, 4096)}
	offer, err := nixwire.Greet(c.r, c.w)
	if err != nil {
		return nil, err
	}
	want := nixwire.Version{Number: min(offer, 1<<8|minor), Features: []string{"unheard-of", nixwire.FeatureRealisationWithPath}}
	if c.v, c.hello, err = nixwire.Agree(c.r, c.w, want); err != nil {
		return nil, err
	}
	return c, c.last()
}

func mustConnect(t testing.TB, socket string) *client {
	t.Helper()
	c, err := connect(t, socket, 38)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) last() error {
	for {
		m, err := nixwire.ReadMessage(c.r)
		switch {
		case err != nil:
			return err
		case m.Kind == nixwire.Last:
			return nil
		case m.Kind == nixwire.Failure:
			return errors.New(m.Text)
		}
		c.said = append(c.said, m)
	}
}

// send sends a request and what follows it.
func (c *client) send(op nixwire.Op, content []byte, tokens ...nixwire.Token) error {
	c.w.Uint64(uint64(op))
	nixwire.Write(c.w, tokens)
	if shape, _ := nixwire.Lookup(op); shape.Body == nixwire.Framed {
		f := nixwire.NewFrameWriter(c.w)
		_, _ = f.Write(content) // the error is Flush's, too
		f.End()
	}
	return c.w.Flush()
}

// call sends a request and returns its answer.
func (c *client) call(op nixwire.Op, content []byte, tokens ...nixwire.Token) ([]nixwire.Token, error) {
	if err := c.send(op, content, tokens...); err != nil {
		return nil, err
	}
	if err := c.last(); err != nil {
		return nil, err
	}
	shape, _ := nixwire.Lookup(op)
	return nixwire.Read(c.r, c.v, shape.Answer, &nixwire.Limit{Left: 1 << 30})
}

func tPath(p string) nixwire.Token { return nixwire.Token{Kind: nixwire.Path, Str: p} }
func tStr(s string) nixwire.Token  { return nixwire.Token{Kind: nixwire.Str, Str: s} }
func tInt(n uint64) nixwire.Token  { return nixwire.Token{Int: n} }
func tList(n uint64) nixwire.Token { return nixwire.Token{Kind: nixwire.List, Int: n} }
func tDrv(s string) nixwire.Token  { return nixwire.Token{Kind: nixwire.Derived, Str: s} }

// storePath is a store path of a name; the letter fills its hash.
func storePath(letter, name string) string {
	return nixwire.StoreDir + "/" + strings.Repeat(letter, 32) + "-" + name
}

// archive is a NAR of a file.
func archive(contents string) []byte {
	var b strings.Builder
	w := nixwire.NewWriter(&b, 4096)
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents", contents, ")"} {
		w.String(s)
	}
	_ = w.Flush() // to memory
	return []byte(b.String())
}
