package gateway_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// FuzzGateway has a client say anything, and a daemon answer anything. The connection ends, and the daemon has seen
// nothing but whole requests of what is allowed.
func FuzzGateway(f *testing.F) {
	p := storePath("0", "p")
	number := func(n ...uint64) (b []byte) {
		for _, n := range n {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		return b
	}
	request := func(op nixwire.Op, tokens ...nixwire.Token) []byte {
		var b bytes.Buffer
		w := nixwire.NewWriter(&b, 4096)
		w.Uint64(uint64(op))
		nixwire.Write(w, tokens)
		_ = w.Flush() // to memory
		return b.Bytes()
	}
	framed := func(b []byte) []byte { return append(append(number(uint64(len(b))), b...), number(0)...) }
	pathInfo := append([]nixwire.Token{tPath(p)}, info(uint64(len(archive("x"))))...)
	f.Add(request(nixwire.IsValidPath, tPath(p)), []byte{}, byte(38))
	f.Add(slices.Concat(request(nixwire.QueryValidPaths, append(pathList(p), tInt(1))...), request(nixwire.CollectGarbage, tInt(2), tList(0), tInt(0), tInt(0), tInt(0), tInt(0), tInt(0))), []byte{}, byte(35))
	f.Add(append(request(nixwire.AddToStore, tStr("p"), tStr("fixed:r:sha256"), tList(0), tInt(0)), framed(archive("x"))...), []byte{}, byte(38))
	f.Add(append(request(nixwire.AddToStoreNar, append(pathInfo, tInt(0), tInt(1))...), framed(archive("x"))...), number(nixwire.Last), byte(32))
	f.Add(append(request(nixwire.AddMultipleToStore, tInt(0), tInt(0)), framed(slices.Concat(number(1), request(0, pathInfo...)[8:], archive("x")))...), []byte{}, byte(34))
	f.Add(request(nixwire.BuildPathsWithResults, tList(1), tDrv(p+"!out"), tInt(0)), number(nixwire.StartActivity, 1, 2, nixwire.ActBuild, 0, 0, 0, nixwire.Last, 0), byte(37))
	f.Add(request(nixwire.NarFromPath, tPath(p)), slices.Concat(number(nixwire.Last), archive("x")), byte(38))

	var script atomic.Pointer[[]byte]
	d := newDaemon(f, &daemon{}, p)
	d.answer = func(c call) reply {
		if b := *script.Load(); len(b) > 0 && !slices.Contains([]nixwire.Op{nixwire.AddTempRoot, nixwire.QueryValidPaths}, c.op) {
			return reply{instead: b}
		}
		return reply{}
	}
	_, socket := newGateway(f, gateway.Config{Upstream: d.socket})
	f.Fuzz(func(t *testing.T, said, answered []byte, minor byte) {
		script.Store(&answered)
		c, err := connect(t, socket, uint16(32+minor%7))
		if err != nil {
			t.Fatal(err)
		}
		defer c.conn.Close()
		if _, err := c.conn.Write(said); err != nil && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		}
		_ = c.conn.(*net.UnixConn).CloseWrite() // may be closed by the gateway
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, c.conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal("the connection does not end:", err)
		}
		d.check(t)
	})
}

// check reports requests that no daemon should see, and forgets all requests.
func (d *daemon) check(t *testing.T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, err := range d.bad {
		if !strings.Contains(err.Error(), "EOF") {
			t.Error("the daemon was sent:", err)
		}
	}
	for _, c := range d.calls {
		switch c.op { //nolint:exhaustive // what is refused
		case nixwire.CollectGarbage, nixwire.OptimiseStore, nixwire.AddPermRoot, nixwire.AddBuildLog, nixwire.RegisterDrvOutput, nixwire.AddIndirectRoot, nixwire.ExportPath, nixwire.ImportPaths:
			t.Error("the daemon was asked for", c.op)
		}
	}
	d.bad, d.calls = nil, nil
}
