package gateway_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// TestKept restarts the daemon where paths are held by a connection: all paths are told to it again before anything is
// answered.
func TestKept(t *testing.T) {
	t.Parallel()
	p, q := storePath("0", "p"), storePath("1", "q")
	d := newDaemon(t, &daemon{}, p, q)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	if a, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
		t.Fatal(a, err)
	}
	_ = c.conn.Close()
	eventually(t, "the end of the client's connection", func() bool { return d.open() == 1 })
	roots := func() (list []string) {
		for _, c := range d.asked(nixwire.AddTempRoot) {
			list = append(list, c.request[0].Str)
		}
		return list
	}
	if n := roots(); len(n) != 2 { // by the connection that is kept, and by the client's
		t.Errorf("roots: %q", n)
	}
	d.stop()
	eventually(t, "the end of the kept connection", func() bool { return d.open() == 0 })
	d.start(t)
	eventually(t, "the root anew, without any client", func() bool { return len(roots()) == 3 })
	c = mustConnect(t, socket)
	if a, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
		t.Fatal(a, err)
	}
	if n := roots(); len(n) != 3 {
		t.Errorf("roots: %q", n)
	}
	if a, err := c.call(nixwire.IsValidPath, nil, tPath(q)); err != nil || a[0].Int != 1 {
		t.Fatal(a, err)
	}
	if n := roots(); len(n) != 5 || n[4] != q {
		t.Errorf("roots: %q", n)
	}
}

// TestLostDaemon has the daemon die in the middle of an operation: the client is told so.
func TestLostDaemon(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	var lost atomic.Int32
	d := newDaemon(t, &daemon{answer: func(c call) reply {
		return reply{hangup: c.op == nixwire.BuildPaths || c.op == nixwire.AddToStoreNar || c.op == nixwire.EnsurePath && lost.Add(1) == 1}
	}}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	if _, err := c.call(nixwire.BuildPaths, nil, tList(1), tDrv(p), tInt(0)); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Error(err)
	}
	if n := len(d.asked(nixwire.BuildPaths)); n != 2 {
		t.Errorf("asked %d times", n)
	}
	c = mustConnect(t, socket)
	if _, err := c.call(nixwire.EnsurePath, nil, tPath(p)); err != nil || len(c.said) != 1 { // it is asked for again
		t.Error(err, c.said)
	}
	c = mustConnect(t, socket)
	if _, err := c.call(nixwire.AddToStoreNar, archive("x"), append(append([]nixwire.Token{tPath(p)}, info(7)...), tInt(0), tInt(0))...); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Error(err)
	}
}

// TestRestart restarts the daemon while a client is idle: the client does not notice, and the daemon has its options and
// its temporary roots.
func TestRestart(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	d := newDaemon(t, &daemon{}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket, Roots: t.TempDir(), Job: "j"})
	c := mustConnect(t, socket)
	options := make([]nixwire.Token, 12, 13)
	if _, err := c.call(nixwire.SetOptions, nil, append(options, tList(0))...); err != nil {
		t.Fatal(err)
	}
	if _, err := c.call(nixwire.AddTempRoot, nil, tPath(p)); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		d.stop()
		eventually(t, "the end of the connections", func() bool { return d.open() == 0 })
		d.start(t)
		if a, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
			t.Fatal(round, a, err)
		}
	}
	if n, m := len(d.asked(nixwire.SetOptions)), len(d.asked(nixwire.AddTempRoot)); n != 4 || m != 5 { // one is the gateway's own
		t.Errorf("options were set %d times, roots %d times", n, m)
	}
	d.stop()
	eventually(t, "the end of the connections", func() bool { return d.open() == 0 })
	d.offer = 1<<8 | 35
	d.start(t)
	if _, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err == nil || !strings.Contains(err.Error(), "speaks protocol 1.35 instead of 1.38") {
		t.Error(err)
	}
}
