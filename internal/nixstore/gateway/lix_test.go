package gateway_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// What is known of Lix is from lix/libstore/{daemon,remote-store,worker-protocol}.* of its versions 2.90 to 2.95: it speaks
// version 1.35 of the protocol for ever, since 2.94 no older one, has no content-addressed derivations, and ends a connection
// after an operation that it has given up, whose request it does not read. Lix itself is not run by these tests.

// lixGone are operations that Lix 2.94 has given up.
func lixGone() []nixwire.Op {
	return []nixwire.Op{
		nixwire.HasSubstitutes, nixwire.QueryPathHash, nixwire.QueryReferences, nixwire.AddTextToStore, nixwire.SyncWithGC, nixwire.ExportPath, nixwire.QueryDeriver,
		nixwire.QueryDerivationOutputs, nixwire.QueryFailedPaths, nixwire.ClearFailedPaths, nixwire.ImportPaths, nixwire.QueryDerivationOutputNames,
		nixwire.RegisterDrvOutput, nixwire.QueryRealisation,
	}
}

// lix is a scripted daemon that is like Lix, and slow to end a connection or not.
func lix(t *testing.T, slow bool, valid ...string) *daemon {
	t.Helper()
	d := newDaemon(t, &daemon{offer: 1<<8 | 35, oldest: 1<<8 | 35, nix: "2.95.3", gone: lixGone(), slow: slow}, valid...)
	t.Cleanup(func() { d.check(t) })
	return d
}

// TestLixDaemon has clients of all versions at a daemon that is like Lix.
func TestLixDaemon(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	for _, minor := range []uint16{32, 33, 34, 35, 37, 38} {
		t.Run(fmt.Sprint("client 1.", minor), func(t *testing.T) {
			t.Parallel()
			d := lix(t, minor%2 == 1, p)
			_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
			c, err := connect(t, socket, minor)
			if err != nil {
				t.Fatal(err)
			}
			if want := min(1<<8|minor, 1<<8|35); c.v.Number != want || len(c.v.Features) != 0 {
				t.Errorf("version %s", c.v)
			}
			if minor >= 33 && c.hello.Nix != "2.95.3" || minor >= 35 && c.hello.Trust != nixwire.NotTrusted {
				t.Errorf("it says %+v", c.hello)
			}
			for range 2 { // the second time the daemon's connection has been lost
				if a, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
					t.Error("valid:", a, err)
				}
				if _, err := c.call(nixwire.AddToStore, archive("x"), tStr("p"), tStr("fixed:r:sha256"), tList(0), tInt(0)); err != nil {
					t.Error("add:", err)
				}
				if _, err := c.call(nixwire.QueryDeriver, nil, tPath(p)); err == nil || !strings.Contains(err.Error(), "not supported in Lix") {
					t.Error("an operation that is gone:", err)
				}
			}
			if a, err := c.call(nixwire.QueryRealisation, nil, tStr("sha256:00!out")); err != nil || a[0].Int != 0 {
				t.Error("a realisation:", a, err)
			}
		})
	}
}

// TestLixDaemonTrusts has a client that is too old to be told of it.
func TestLixDaemonTrusts(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, &daemon{offer: 1<<8 | 35, oldest: 1<<8 | 35, trust: nixwire.Trusted})
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	if _, err := connect(t, socket, 33); err == nil || !strings.Contains(err.Error(), "trust") {
		t.Error(err)
	}
}

// TestLixClient has a client that is like Lix at daemons of all versions.
func TestLixClient(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	for _, minor := range []uint16{32, 34, 35, 37, 38} {
		t.Run(fmt.Sprint("daemon 1.", minor), func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, &daemon{offer: 1<<8 | minor, nix: "2.x"}, p)
			_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
			c, err := lixConnect(t, socket)
			if minor < 35 {
				if err == nil || !strings.Contains(err.Error(), "too old") {
					t.Error("it is served by", minor, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
				t.Error("valid:", a, err)
			}
			if _, err := c.call(nixwire.BuildPathsWithResults, nil, tList(1), tDrv(p+"!out"), tInt(0)); err != nil {
				t.Error("build:", err)
			}
			if _, err := c.call(nixwire.CollectGarbage, nil, tInt(2), tList(0), tInt(0), tInt(1<<40), tInt(0), tInt(0), tInt(0)); err == nil || !strings.Contains(err.Error(), "Skerry itself collects") {
				t.Error("collect:", err)
			}
			if v := d.asked(nixwire.IsValidPath)[0].v; v.Number != 1<<8|35 {
				t.Errorf("the daemon is spoken to in %s", v)
			}
		})
	}
}

// lixConnect introduces itself as Lix does: with its own version, whatever the daemon's is, as long as that is no older.
func lixConnect(t *testing.T, socket string) (*client, error) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{conn: conn, r: nixwire.NewReader(conn, 4096), w: nixwire.NewWriter(conn, 4096)}
	offer, err := nixwire.Greet(c.r, c.w)
	if err != nil {
		return nil, err
	}
	if offer < 1<<8|35 {
		return nil, errors.New("the daemon is too old")
	}
	if c.v, c.hello, err = nixwire.Agree(c.r, c.w, nixwire.Version{Number: 1<<8 | 35}); err != nil {
		return nil, err
	}
	return c, c.last()
}

// givenUp is what Lix says of an operation that it has given up; empty: it has not.
func (d *daemon) givenUp(op nixwire.Op) string {
	if !slices.Contains(d.gone, op) {
		return ""
	}
	return op.String() + " is not supported in Lix"
}
