package gateway_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// TestRefused asks for everything that is refused: the answer is an error that says why, nothing reaches the daemon, and
// the connection goes on.
func TestRefused(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	pathInfo := append([]nixwire.Token{tPath(p)}, info(7)...)
	inputAddressed := []nixwire.Token{
		tPath(storePath("1", "d.drv")), tList(1), tStr("out"), {Kind: nixwire.OptPath, Str: p}, tStr(""), tStr(""), tList(0), tStr("x"), tStr("b"), tList(0), tList(0), tInt(0),
	}
	repaired := slices.Clone(inputAddressed)
	repaired[4].Str, repaired[len(repaired)-1].Int = "r:sha256", 1
	for name, c := range map[string]struct {
		op      nixwire.Op
		request []nixwire.Token
		content []byte
		want    string
	}{
		"collect":             {nixwire.CollectGarbage, []nixwire.Token{tInt(2), tList(0), tInt(0), tInt(1 << 40), tInt(0), tInt(0), tInt(0)}, nil, "Skerry itself collects"},
		"delete":              {nixwire.CollectGarbage, append(append([]nixwire.Token{tInt(3)}, pathList(p)...), tInt(1), tInt(0), tInt(0), tInt(0), tInt(0)), nil, "shared with other jobs"},
		"optimise":            {nixwire.OptimiseStore, nil, nil, "shared"},
		"verify and repair":   {nixwire.VerifyStore, []nixwire.Token{tInt(1), tInt(1)}, nil, "repair"},
		"build, repair":       {nixwire.BuildPaths, []nixwire.Token{tList(1), tDrv(p), tInt(1)}, nil, "repair"},
		"results, repair":     {nixwire.BuildPathsWithResults, []nixwire.Token{tList(1), tDrv(p), tInt(1)}, nil, "repair"},
		"derivation, repair":  {nixwire.BuildDerivation, repaired, nil, "repair"},
		"input-addressed":     {nixwire.BuildDerivation, inputAddressed, nil, "addressed by its inputs"},
		"add, repair":         {nixwire.AddToStore, []nixwire.Token{tStr("p"), tStr("fixed:r:sha256"), tList(0), tInt(1)}, archive("x"), "repair"},
		"add, unknown method": {nixwire.AddToStore, []nixwire.Token{tStr("p"), tStr("magic:sha256"), tList(0), tInt(0)}, archive("x"), "magic"},
		"archive, repair":     {nixwire.AddToStoreNar, append(slices.Clone(pathInfo), tInt(1), tInt(0)), archive("x"), "repair"},
		"many, repair":        {nixwire.AddMultipleToStore, []nixwire.Token{tInt(1), tInt(0)}, []byte("12345678"), "repair"},
		"permanent root":      {nixwire.AddPermRoot, []nixwire.Token{tPath(p), tStr("/x")}, nil, "skerry nix pin"},
		"log":                 {nixwire.AddBuildLog, []nixwire.Token{tStr("d.drv")}, []byte("a lie"), "only the daemon"},
		"realisation":         {nixwire.RegisterDrvOutput, []nixwire.Token{tPath(p), tStr("out"), tPath(p), tList(0)}, nil, "not by a job's word"},
		"export":              {nixwire.ExportPath, []nixwire.Token{tPath(p), tInt(0)}, nil, "removed"},
		"import":              {nixwire.ImportPaths, nil, nil, "removed"},
		"failed paths":        {nixwire.QueryFailedPaths, nil, nil, "removed"},
		"clear failed paths":  {nixwire.ClearFailedPaths, []nixwire.Token{tList(0)}, nil, "removed"},
		"hash":                {nixwire.QueryPathHash, []nixwire.Token{tPath(p)}, nil, "removed"},
		"references":          {nixwire.QueryReferences, []nixwire.Token{tPath(p)}, nil, "removed"},
		"substitutes":         {nixwire.HasSubstitutes, []nixwire.Token{tPath(p)}, nil, "removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, &daemon{}, p)
			g, socket := newGateway(t, gateway.Config{Upstream: d.socket})
			cl := mustConnect(t, socket)
			if _, err := cl.call(c.op, c.content, c.request...); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.op.String()) {
				t.Error(err)
			}
			if len(d.asked(c.op)) > 0 {
				t.Error("it came to the daemon")
			}
			if a, err := cl.call(nixwire.IsValidPath, nil, tPath(p)); err != nil || a[0].Int != 1 {
				t.Error("afterwards:", a, err)
			}
			if n := g.Usage().Refused[c.op.String()]; n != 1 {
				t.Error("refusals counted:", n)
			}
		})
	}
}

// TestForced checks what is changed on its way to the daemon.
func TestForced(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	d := newDaemon(t, &daemon{}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket, MaxJobs: 2})
	c := mustConnect(t, socket)
	ultimate := info(7)
	ultimate[5].Int = 1
	if _, err := c.call(nixwire.AddToStoreNar, archive("x"), append(append([]nixwire.Token{tPath(p)}, ultimate...), tInt(0), tInt(1))...); err != nil {
		t.Fatal(err)
	}
	r := d.asked(nixwire.AddToStoreNar)[0].request
	if r[6].Int != 0 || r[len(r)-1].Int != 0 || r[len(r)-2].Int != 0 {
		t.Error("ultimate, or signatures that are not checked:", r)
	}
	if _, err := c.call(nixwire.AddIndirectRoot, nil, tStr("/builds/result")); err != nil || len(d.asked(nixwire.AddIndirectRoot)) > 0 {
		t.Error("an indirect root:", err)
	}
	options := []nixwire.Token{
		tInt(1), tInt(1), tInt(1), tInt(99), tInt(1000), tInt(5), tInt(1), tInt(0), tInt(0), tInt(0), tInt(3), tInt(1), tList(6),
		tStr("sandbox"), tStr("false"), tStr("timeout"), tStr("9"), tStr("builders"), tStr("@/etc/machines"), tStr("experimental-features"), tStr("flakes"),
		tStr("post-build-hook"), tStr("/x"), tStr("substituters"), tStr("https://a"),
	}
	for range 2 {
		if _, err := c.call(nixwire.SetOptions, nil, options...); err != nil {
			t.Fatal(err)
		}
	}
	got := d.asked(nixwire.SetOptions)[1].request
	if got[0].Int != 0 || got[3].Int != 7 || got[4].Int != 2 || got[5].Int != 5 || got[12].Int != 2 || got[13].Str != "timeout" || got[15].Str != "substituters" {
		t.Errorf("options: %+v", got)
	}
	var said []string
	for _, m := range c.said {
		said = append(said, m.Text)
	}
	for _, name := range []string{"sandbox", "builders", "post-build-hook"} {
		if n := strings.Count(strings.Join(said, ""), "'"+name+"'"); n != 1 {
			t.Errorf("%s was told of %d times: %q", name, n, said)
		}
	}
	if len(said) != 3 {
		t.Errorf("told of: %q", said)
	}
}

// TestManyForced is TestForced for what is inside a stream.
func TestManyForced(t *testing.T) {
	t.Parallel()
	p, q := storePath("0", "p"), storePath("1", "q")
	d := newDaemon(t, &daemon{}, p, q)
	g, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	if _, err := c.call(nixwire.AddMultipleToStore, many(t, 2, p, q), tInt(0), tInt(1)); err != nil {
		t.Fatal(err)
	}
	got := d.asked(nixwire.AddMultipleToStore)[0]
	if got.request[1].Int != 0 {
		t.Error("signatures are not checked")
	}
	r := nixwire.NewReader(bytes.NewReader(got.content), 64)
	_, _ = r.Uint64()
	tokens, err := nixwire.Read(r, nixwire.Version{}, nixwire.KeyedInfoShape(), &nixwire.Limit{Left: 1 << 20})
	if err != nil || tokens[6].Int != 0 {
		t.Error("ultimate:", tokens, err)
	}
	if u := g.Usage(); u.Added.Paths != 2 || u.Added.Bytes != int64(2*len(archive("contents"))) || len(g.Held()) != 2 {
		t.Errorf("%+v, held %q", u, g.Held())
	}
	for name, content := range map[string][]byte{
		"too many":  append(many(t, 1, p), 0),
		"too few":   many(t, 3, p, q),
		"truncated": many(t, 1, p)[:200],
		"not any":   {},
	} {
		c := mustConnect(t, socket)
		if _, err := c.call(nixwire.AddMultipleToStore, content, tInt(0), tInt(0)); err == nil || !strings.Contains(err.Error(), "malformed") && !strings.Contains(err.Error(), "lost") {
			t.Error(name, err)
		}
	}
}

// many is the stream of AddMultipleToStore.
func many(t *testing.T, n uint64, paths ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := nixwire.NewWriter(&b, 4096)
	w.Uint64(n)
	for _, p := range paths {
		a := archive("contents")
		i := info(uint64(len(a)))
		i[5].Int = 1
		nixwire.Write(w, append([]nixwire.Token{tPath(p)}, i...))
		w.Raw(a)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostile sends what no Nix would send. The gateway ends the connection, nothing is left behind, and others are
// served.
func TestHostile(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	d := newDaemon(t, &daemon{}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket, Handshake: 100 * time.Millisecond})
	number := func(n ...uint64) []byte {
		var b []byte
		for _, n := range n {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		return b
	}
	hello := number(nixwire.MagicClient, 1<<8|35, 0, 0)
	add := append(number(uint64(nixwire.AddToStore)), words("p", "fixed:r:sha256")...)
	add = append(add, number(0, 0)...)
	for name, raw := range map[string][]byte{
		"nothing":           nil,
		"a byte":            {1},
		"wrong magic":       number(0x12345678, 1<<8|35),
		"http":              []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"half a handshake":  number(nixwire.MagicClient, 1<<8|35),
		"another protocol":  number(nixwire.MagicClient, 2<<8|35, 0, 0),
		"features":          number(nixwire.MagicClient, 1<<8|38, 1<<60),
		"unknown operation": append(slices.Clone(hello), number(48)...),
		"huge operation":    append(slices.Clone(hello), number(1<<63)...),
		"huge string":       append(slices.Clone(hello), number(1, 1<<62)...),
		"huge list":         append(append(slices.Clone(hello), number(31, 1<<62)...), bytes.Repeat(words(p), 100)...),
		"no path":           append(append(slices.Clone(hello), number(1)...), words("/etc/passwd")...),
		"traversal":         append(append(slices.Clone(hello), number(1)...), words(p+"/../../etc")...),
		"truncated":         append(append(slices.Clone(hello), number(1)...), words(p)[:20]...),
		"huge frame":        append(append(append(slices.Clone(hello), add...), number(1<<60)...), "not an archive, not an archive"...),
		"frame of garbage":  append(append(append(slices.Clone(hello), add...), number(32)...), bytes.Repeat([]byte{255}, 32)...),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := c.Write(raw); err != nil && !strings.Contains(err.Error(), "broken pipe") {
				t.Fatal(err)
			}
			if name == "truncated" || name == "huge list" { // a client may take its time
				_ = c.Close()
			} else if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Error("the connection does not end:", err)
			}
			eventually(t, "the end of the daemon's connection", func() bool { return d.open() == 0 })
		})
	}
	eventually(t, "service for others", func() bool { // who is slow to introduce itself gets none here
		c, err := connect(t, socket, 38)
		if err != nil {
			return false
		}
		a, err := c.call(nixwire.IsValidPath, nil, tPath(p))
		return err == nil && a[0].Int == 1
	})
}

func words(list ...string) []byte {
	var b bytes.Buffer
	w := nixwire.NewWriter(&b, 64)
	for _, s := range list {
		w.String(s)
	}
	_ = w.Flush() // to memory
	return b.Bytes()
}

// TestReframed sends one frame that would fill the daemon's memory: it gets small ones.
func TestReframed(t *testing.T) {
	t.Parallel()
	p := storePath("0", "p")
	d := newDaemon(t, &daemon{answer: func(c call) reply {
		if c.op == nixwire.AddToStore {
			return reply{answer: append([]nixwire.Token{tPath(p)}, info(7)...)}
		}
		return reply{}
	}}, p)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	c := mustConnect(t, socket)
	content := archive(strings.Repeat("x", 8<<20))
	if _, err := c.call(nixwire.AddToStore, content, tStr("p"), tStr("fixed:r:sha256"), tList(0), tInt(0)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.asked(nixwire.AddToStore)[0].content, content) {
		t.Error("the content is another")
	}
}

// TestHangup ends clients in the middle of a build: the daemon's connection ends with them.
func TestHangup(t *testing.T) {
	t.Parallel()
	drv := storePath("3", "d.drv")
	started := make(chan struct{}, 10)
	d := newDaemon(t, &daemon{answer: func(c call) reply {
		if c.op == nixwire.BuildPaths {
			started <- struct{}{}
			return reply{listen: true}
		}
		return reply{}
	}}, drv)
	_, socket := newGateway(t, gateway.Config{Upstream: d.socket})
	for _, more := range []bool{false, true} {
		c := mustConnect(t, socket)
		if err := c.send(nixwire.BuildPaths, nil, tList(1), tDrv(drv+"!out"), tInt(0)); err != nil {
			t.Fatal(err)
		}
		<-started
		if more { // what it sends ahead must not hide that it is gone
			if err := c.send(nixwire.IsValidPath, nil, tPath(drv)); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.conn.Close()
	}
	eventually(t, "the end of the daemon's connections", func() bool { return d.open() == 0 })
}

// TestConnections opens more connections than a job may have.
func TestConnections(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, &daemon{})
	g, socket := newGateway(t, gateway.Config{Upstream: d.socket, MaxConns: 2, Wait: 20 * time.Millisecond})
	first := mustConnect(t, socket)
	mustConnect(t, socket)
	if _, err := connect(t, socket, 38); err == nil || !strings.Contains(err.Error(), "2 connections") {
		t.Error(err)
	}
	_ = first.conn.Close()
	eventually(t, "a free place", func() bool {
		_, err := connect(t, socket, 38)
		return err == nil
	})
	if n := g.Usage().Connections; n < 4 {
		t.Error("connections:", n)
	}
}
