package gateway_test

import (
	"slices"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// TestUsage builds, substitutes and asks, and reads the account.
func TestUsage(t *testing.T) {
	t.Parallel()
	drv, out, sub, old := storePath("3", "d.drv"), storePath("4", "out"), storePath("5", "sub"), storePath("6", "old")
	start := func(kind uint64, p string) nixwire.Message {
		return nixwire.Message{Kind: nixwire.StartActivity, Type: kind, Fields: []nixwire.Value{{IsString: true, Str: p}, {IsString: true, Str: "x"}}}
	}
	d := newDaemon(t, &daemon{answer: func(c call) reply {
		switch c.op { //nolint:exhaustive // the usual
		case nixwire.BuildPaths:
			return reply{messages: []nixwire.Message{start(nixwire.ActBuild, drv), start(nixwire.ActSubstitute, sub), start(nixwire.ActCopyPath, sub)}}
		case nixwire.QueryDerivationOutputMap:
			return reply{answer: []nixwire.Token{tList(1), tStr("out"), {Kind: nixwire.OptPath, Str: out}}}
		}
		return reply{}
	}}, drv, out, sub, old)
	g, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	for range 2 {
		if _, err := c.call(nixwire.BuildPaths, nil, tList(1), tDrv(drv+"!out"), tInt(0)); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{old, drv} {
			if _, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil {
				t.Fatal(err)
			}
		}
	}
	u := g.Usage()
	if u.Built != (gateway.Count{Paths: 1, Bytes: 1000}) || u.Substituted != (gateway.Count{Paths: 1, Bytes: 1000}) || u.Reused.Paths != 1 || u.Added.Paths != 0 {
		t.Errorf("%+v", u)
	}
	held := g.Held()
	slices.Sort(held)
	if want := []string{drv, out, sub, old}; !slices.Equal(held, want) {
		t.Errorf("held: %q", held)
	}
}

// TestFailedBuild holds what was made before a build failed, and passes the error on.
func TestFailedBuild(t *testing.T) {
	t.Parallel()
	drv, sub := storePath("3", "d.drv"), storePath("5", "sub")
	d := newDaemon(t, &daemon{answer: func(c call) reply {
		if c.op == nixwire.BuildPaths {
			return reply{failure: "builder failed", messages: []nixwire.Message{{
				Kind: nixwire.StartActivity, Type: nixwire.ActSubstitute, Fields: []nixwire.Value{{IsString: true, Str: sub}},
			}}}
		}
		return reply{}
	}}, drv, sub)
	g, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	if _, err := c.call(nixwire.BuildPaths, nil, tList(1), tDrv(drv+"!out"), tInt(0)); err == nil || err.Error() != "builder failed" {
		t.Error(err)
	}
	if held := g.Held(); !slices.Equal(held, []string{sub}) {
		t.Errorf("held: %q", held)
	}
}

// TestArchiveOut reads an archive, and asks for one that is not there.
func TestArchiveOut(t *testing.T) {
	t.Parallel()
	p, gone := storePath("0", "p"), storePath("1", "gone")
	content := archive(strings.Repeat("0123456789", 1<<16))
	d := newDaemon(t, &daemon{answer: func(c call) reply {
		if c.op == nixwire.NarFromPath {
			return reply{answer: []nixwire.Token{}, raw: content}
		}
		return reply{}
	}}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	if _, err := c.call(nixwire.NarFromPath, nil, tPath(gone)); err == nil || !strings.Contains(err.Error(), "is not valid") {
		t.Error(err)
	}
	if _, err := c.call(nixwire.NarFromPath, nil, tPath(p)); err != nil {
		t.Fatal(err)
	}
	var a nixwire.Archive
	for !a.Done() {
		piece, err := c.r.Piece(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		n, err := a.Scan(piece)
		if err != nil {
			t.Fatal(err)
		}
		c.r.Discard(n)
	}
	if a.Size() != uint64(len(content)) {
		t.Error(a.Size(), len(content))
	}
	if a, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
		t.Error("afterwards:", a, err)
	}
}

// TestRealisations asks for the output of a content-addressed derivation in the old form. A daemon that does not know it
// any more, and would take the question for operations, is not asked.
func TestRealisations(t *testing.T) {
	t.Parallel()
	out := storePath("4", "out")
	text := `{"id":"sha256:00!out","outPath":"` + strings.TrimPrefix(out, nixwire.StoreDir+"/") + `","signatures":[],"dependentRealisations":{}}`
	for version, asked := range map[string]bool{"2.18.0": true, "2.34.7pre2025": true, "2.35.0": false, "3.0": false, "Lix, like Nix": true, "": true} {
		d := newDaemon(t, &daemon{offer: 1<<8 | 35, nix: version, answer: func(c call) reply {
			if c.op == nixwire.QueryRealisation {
				return reply{answer: []nixwire.Token{tList(1), tStr(text)}}
			}
			return reply{}
		}}, out)
		g, socket := newGateway(t, gateway.Config{Upstream: d.socket})
		a, err := mustConnect(t, socket).call(nixwire.QueryRealisation, nil, tStr("sha256:00!out"))
		if err != nil {
			t.Fatal(version, err)
		}
		if got := len(d.asked(nixwire.QueryRealisation)) > 0; got != asked || asked != (a[0].Int == 1) || asked != slices.Contains(g.Held(), out) {
			t.Errorf("%q: asked %v, answer %v, held %q", version, got, a, g.Held())
		}
	}
}
