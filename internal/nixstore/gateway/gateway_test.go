package gateway_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// TestVersions has clients and daemons of all versions meet.
func TestVersions(t *testing.T) {
	t.Parallel()
	p := storePath("0", "x")
	for offer := uint16(32); offer <= 40; offer++ {
		d := newDaemon(t, &daemon{offer: 1<<8 | offer, nix: "2.99.1"}, p)
		_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
		for minor := uint16(32); minor <= 39; minor++ {
			c, err := connect(t, socket, minor)
			if err != nil {
				t.Fatalf("client %d, daemon %d: %v", minor, offer, err)
			}
			if want := min(minor, offer, 38); c.v.Minor() != int(want) || want >= 35 && c.hello.Trust != nixwire.NotTrusted || want >= 33 && c.hello.Nix != d.nix {
				t.Errorf("client %d, daemon %d: %v %+v", minor, offer, c.v, c.hello)
			}
			if c.v.Minor() == 38 && !slices.Equal(c.v.Features, []string{nixwire.FeatureRealisationWithPath}) {
				t.Errorf("client %d, daemon %d: features %q", minor, offer, c.v.Features)
			}
			if a, err := c.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
				t.Errorf("client %d, daemon %d: %v %v", minor, offer, a, err)
			}
		}
	}
}

// TestTurnedAway has those meet who get no connection.
func TestTurnedAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		offer, minor uint16
		trust        nixwire.Trust
		want         string
	}{
		"trusted":               {38, 38, nixwire.Trusted, "trusted-users"},
		"trusted, 1.35":         {35, 38, nixwire.Trusted, "trusted-users"},
		"trusted, older Nix":    {38, 34, nixwire.Trusted, "trusted-users"},
		"old client":            {38, 31, nixwire.NotTrusted, "too old"},
		"ancient client":        {38, 21, nixwire.NotTrusted, "too old"},
		"old daemon":            {31, 38, nixwire.NotTrusted, "daemon is too old"},
		"old daemon and client": {21, 21, nixwire.NotTrusted, "daemon is too old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, &daemon{offer: 1<<8 | c.offer, trust: c.trust})
			_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
			_, err := connect(t, socket, c.minor)
			told := c.minor >= 26 // the test's client does not know the form that errors had before
			if err == nil || told && !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
			eventually(t, "the end of the daemon's connections", func() bool { return d.open() == 0 })
		})
	}
}

// TestAway connects while the daemon is away.
func TestAway(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, &daemon{})
	d.stop()
	_, short := newGateway(t, gateway.Config{Upstream: d.socket, Wait: time.Millisecond})
	if _, err := connect(t, short, 38); err == nil || !strings.Contains(err.Error(), "The Nix daemon is not there") {
		t.Error(err)
	}
	_, long := newGateway(t, gateway.Config{Upstream: d.socket})
	connected := make(chan error)
	go func() {
		_, err := connect(t, long, 38)
		connected <- err
	}()
	select {
	case err := <-connected:
		t.Error("the client did not wait:", err)
	case <-time.After(50 * time.Millisecond):
	}
	d.start(t)
	if err := <-connected; err != nil {
		t.Error(err)
	}
}

// TestHeld asks about paths in every way that says that they are valid: before the answer each is a temporary root of
// the connection and a link.
func TestHeld(t *testing.T) {
	t.Parallel()
	p, q, gone := storePath("0", "p"), storePath("1", "q"), storePath("2", "gone")
	drv, out := storePath("3", "d.drv"), storePath("4", "out")
	built := []nixwire.Token{tInt(0), tStr(""), tInt(1), tInt(0), tInt(1), tInt(2), {Kind: nixwire.Opt}, {Kind: nixwire.Opt}, tList(1), tStr("out"), tPath(out), tList(0)}
	paths := pathList(p, gone)
	for name, c := range map[string]struct {
		op      nixwire.Op
		request []nixwire.Token
		content []byte
		answer  []nixwire.Token // of the daemon
		want    []nixwire.Token // of the gateway, where it is another
		held    []string
	}{
		"valid":       {op: nixwire.IsValidPath, request: []nixwire.Token{tPath(p)}, held: []string{p}},
		"not valid":   {op: nixwire.IsValidPath, request: []nixwire.Token{tPath(gone)}},
		"vanished":    {op: nixwire.IsValidPath, request: []nixwire.Token{tPath(gone)}, answer: []nixwire.Token{tInt(1)}, want: []nixwire.Token{tInt(0)}},
		"valid paths": {op: nixwire.QueryValidPaths, request: append(pathList(p, q, gone), tInt(0)), held: []string{p, q}},
		"info":        {op: nixwire.QueryPathInfo, request: []nixwire.Token{tPath(p)}, held: []string{p}},
		"info, vanished": {
			op: nixwire.QueryPathInfo, request: []nixwire.Token{tPath(gone)}, answer: append([]nixwire.Token{{Kind: nixwire.Opt, Int: 1}}, info(3)...),
			want: []nixwire.Token{{Kind: nixwire.Opt}},
		},
		"ensure":    {op: nixwire.EnsurePath, request: []nixwire.Token{tPath(p)}, held: []string{p}},
		"hash":      {op: nixwire.QueryPathFromHashPart, request: []nixwire.Token{tStr("0")}, answer: []nixwire.Token{{Kind: nixwire.OptPath, Str: p}}, held: []string{p}},
		"hash none": {op: nixwire.QueryPathFromHashPart, request: []nixwire.Token{tStr("0")}, answer: []nixwire.Token{{Kind: nixwire.OptPath}}},
		"referrers": {op: nixwire.QueryReferrers, request: []nixwire.Token{tPath(q)}, answer: paths, want: pathList(p), held: []string{p}},
		"derivers":  {op: nixwire.QueryValidDerivers, request: []nixwire.Token{tPath(q)}, answer: paths, want: pathList(p), held: []string{p}},
		"text":      {op: nixwire.AddTextToStore, request: append([]nixwire.Token{tStr("p"), tStr("text")}, pathList()...), answer: []nixwire.Token{tPath(p)}, held: []string{p}},
		"add": {
			op: nixwire.AddToStore, request: []nixwire.Token{tStr("p"), tStr("fixed:r:sha256"), tList(0), tInt(0)}, content: archive("x"),
			answer: append([]nixwire.Token{tPath(p)}, info(7)...), held: []string{p},
		},
		"add archive": {op: nixwire.AddToStoreNar, request: append(append([]nixwire.Token{tPath(p)}, info(7)...), tInt(0), tInt(1)), content: archive("x"), held: []string{p}},
		"build":       {op: nixwire.BuildPaths, request: []nixwire.Token{tList(2), tDrv(drv + "!out"), tDrv(p), tInt(0)}, held: []string{drv, out, p}},
		"build, results": {
			op: nixwire.BuildPathsWithResults, request: []nixwire.Token{tList(1), tDrv(drv + "!*"), tInt(0)},
			answer: append([]nixwire.Token{tList(1), tDrv(drv + "!*")}, built...), held: []string{drv, out},
		},
		"build derivation": {
			op: nixwire.BuildDerivation, request: []nixwire.Token{
				tPath(drv), tList(1), tStr("out"), {Kind: nixwire.OptPath}, tStr("r:sha256"), tStr(""), tList(0), tStr("x"), tStr("b"), tList(0), tList(0), tInt(0),
			}, answer: built, held: []string{out},
		},
		"realisation": {
			op: nixwire.QueryRealisation, request: []nixwire.Token{tPath(drv), tStr("out")},
			answer: []nixwire.Token{{Kind: nixwire.Opt, Int: 1}, tPath(out), tList(0)}, held: []string{out},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roots := t.TempDir()
			var rooted sync.Map // paths that became a temporary root when there was a link already
			d := newDaemon(t, &daemon{}, p, q, drv, out)
			d.answer = func(cl call) reply {
				switch {
				case cl.op == c.op && c.answer != nil:
					return reply{answer: c.answer}
				case cl.op == nixwire.QueryDerivationOutputMap:
					return reply{answer: []nixwire.Token{tList(1), tStr("out"), {Kind: nixwire.OptPath, Str: out}}}
				case cl.op == nixwire.AddTempRoot:
					if _, err := os.Lstat(filepath.Join(roots, "jobs/j", filepath.Base(cl.request[0].Str))); err == nil {
						rooted.Store(cl.request[0].Str, true)
					}
				}
				return reply{}
			}
			g, socket := newGateway(t, gateway.Config{Upstream: d.socket, Roots: roots, Job: "j"})
			cl := mustConnect(t, socket)
			got, err := cl.call(c.op, c.content, c.request...)
			if err != nil {
				t.Fatal(err)
			}
			if c.want != nil {
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error("answer:", diff)
				}
			}
			held := g.Held()
			slices.Sort(held)
			slices.Sort(c.held)
			if diff := cmp.Diff(c.held, held); diff != "" {
				t.Error("held:", diff)
			}
			checkLinks(t, filepath.Join(roots, "jobs/j"), c.held)
			for _, p := range c.held {
				if _, ok := rooted.Load(p); !ok {
					t.Errorf("%s was no temporary root after its link was made", p)
				}
			}
		})
	}
}

// checkLinks checks that there are links for exactly the paths that are held.
func checkLinks(t *testing.T, dir string, held []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var links []string
	for _, e := range entries {
		if e.Name() != ".root" { // what they are links of
			links = append(links, nixwire.StoreDir+"/"+e.Name())
		}
	}
	slices.Sort(links)
	if diff := cmp.Diff(held, links); diff != "" {
		t.Error("links:", diff)
	}
}
