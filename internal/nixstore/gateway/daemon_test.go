package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// call is what a scripted daemon was asked.
type call struct {
	op      nixwire.Op
	request []nixwire.Token
	content []byte // of the framed stream
	v       nixwire.Version
}

// reply is what it answers.
type reply struct {
	messages []nixwire.Message // before the answer
	answer   []nixwire.Token
	failure  string
	raw      []byte // behind the answer
	instead  []byte // of messages and answer
	hangup   bool   // instead of an answer
	listen   bool   // until the other side hangs up, instead of an answer
}

// daemon is a scripted daemon: it speaks the protocol and does what answer says.
type daemon struct {
	socket string
	offer  uint16
	oldest uint16       // of clients that it serves
	gone   []nixwire.Op // operations that it has given up
	slow   bool         // to end the connection then
	trust  nixwire.Trust
	nix    string
	answer func(call) reply
	quiet  bool // calls are not kept

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]bool
	calls []call
	valid map[string]bool
	bad   []error // requests that are none
}

// newDaemon starts a daemon that knows which of its paths are valid.
func newDaemon(t testing.TB, d *daemon, valid ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "nixd") // short: a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d.socket = filepath.Join(dir, "socket")
	if d.offer == 0 {
		d.offer = nixwire.Newest
	}
	if d.trust == nixwire.TrustUnknown {
		d.trust = nixwire.NotTrusted
	}
	d.valid = map[string]bool{}
	for _, p := range valid {
		d.valid[p] = true
	}
	d.start(t)
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) start(t testing.TB) {
	t.Helper()
	_ = os.Remove(d.socket)
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.l, d.conns = l, map[net.Conn]bool{}
	d.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns[c] = true
			d.mu.Unlock()
			go func() {
				_ = d.serve(c)
				_ = c.Close()
				d.mu.Lock()
				delete(d.conns, c)
				d.mu.Unlock()
			}()
		}
	}()
}

// stop closes the socket and all connections.
func (d *daemon) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.l.Close()
	for c := range d.conns {
		_ = c.Close()
	}
}

// open is how many connections there are.
func (d *daemon) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

// asked are the calls of an operation so far.
func (d *daemon) asked(op nixwire.Op) []call {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []call
	for _, c := range d.calls {
		if c.op == op {
			list = append(list, c)
		}
	}
	return list
}

func (d *daemon) serve(c net.Conn) error {
	r, w := nixwire.NewReader(c, 4096), nixwire.NewWriter(c, 4096)
	if err := nixwire.ReadGreeting(r); err != nil {
		return err
	}
	v, err := nixwire.Offer(r, w, d.offer)
	if err != nil {
		return err
	}
	if v.Number < d.oldest {
		return errors.New("the client is too old")
	}
	if err := nixwire.Welcome(r, w, v, nixwire.Hello{Nix: d.nix, Trust: d.trust}); err != nil {
		return err
	}
	w.Uint64(nixwire.Last)
	for {
		if err := w.Flush(); err != nil {
			return err
		}
		op, err := r.Uint64()
		if err != nil {
			return err
		}
		shape, known := nixwire.Lookup(nixwire.Op(op))
		if !known {
			return d.complain(fmt.Errorf("unknown operation %d", op))
		}
		if why := d.givenUp(nixwire.Op(op)); why != "" { // and once more as the connection ends
			for range 2 {
				m := nixwire.Message{Kind: nixwire.Failure, Text: why}
				m.Write(w)
			}
			if err := w.Flush(); err != nil || !d.slow {
				return errors.Join(err, errors.New(why))
			}
			_, err := io.Copy(io.Discard, c) // until the other side ends it
			return errors.Join(err, errors.New(why))
		}
		cl := call{op: nixwire.Op(op), v: v}
		if cl.request, err = nixwire.Read(r, v, shape.Request, &nixwire.Limit{Left: 1 << 30}); err != nil {
			return d.complain(err)
		}
		if shape.Body == nixwire.Framed {
			if cl.content, err = io.ReadAll(nixwire.NewFrames(r)); err != nil {
				return err
			}
		}
		if err := d.reply(r, w, cl); err != nil {
			return err
		}
	}
}

// complain keeps an error that is the client's fault.
func (d *daemon) complain(err error) error {
	var bad *nixwire.MalformedError
	if errors.As(err, &bad) || !errors.Is(err, io.ErrUnexpectedEOF) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.bad = append(d.bad, err)
	}
	return err
}

func (d *daemon) reply(r *nixwire.Reader, w *nixwire.Writer, c call) error {
	d.mu.Lock()
	if !d.quiet {
		d.calls = append(d.calls, c)
	}
	d.mu.Unlock()
	var a reply
	if d.answer != nil {
		a = d.answer(c)
	}
	if a.answer == nil && a.failure == "" {
		a.answer = d.usual(c)
	}
	for _, m := range a.messages {
		m.Write(w)
	}
	if a.listen {
		_, err := r.Uint64()
		return err
	}
	switch {
	case a.instead != nil:
		w.Raw(a.instead)
		if err := w.Flush(); err != nil {
			return err
		}
		return errors.New("as the script says")
	case a.hangup:
		return errors.New("as the script says")
	case a.failure != "":
		m := nixwire.Message{Kind: nixwire.Failure, Text: a.failure}
		m.Write(w)
	default:
		w.Uint64(nixwire.Last)
		nixwire.Write(w, a.answer)
		w.Raw(a.raw)
	}
	return w.Err()
}

// usual is what any daemon would answer to the questions of which the gateway asks many.
func (d *daemon) usual(c call) []nixwire.Token {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c.op { //nolint:exhaustive // what else is asked the script answers
	case nixwire.IsValidPath:
		return []nixwire.Token{{Int: map[bool]uint64{true: 1}[d.valid[c.request[0].Str]]}}
	case nixwire.QueryValidPaths:
		var there []string
		for _, t := range c.request {
			if t.Kind == nixwire.Path && d.valid[t.Str] {
				there = append(there, t.Str)
			}
		}
		return pathList(there...)
	case nixwire.QueryPathInfo:
		if !d.valid[c.request[0].Str] {
			return []nixwire.Token{{Kind: nixwire.Opt}}
		}
		return append([]nixwire.Token{{Kind: nixwire.Opt, Int: 1}}, info(1000)...)
	case nixwire.AddToStore:
		return append([]nixwire.Token{tPath(storePath("0", "p"))}, info(7)...)
	}
	shape, _ := nixwire.Lookup(c.op)
	return least(shape.Answer, c.v)
}

// least is the shortest message of a shape.
func least(s nixwire.Shape, v nixwire.Version) []nixwire.Token {
	tokens := []nixwire.Token{}
	for _, f := range s {
		if v.Minor() < f.Since || f.With != "" && !v.Has(f.With) || f.Without != "" && v.Has(f.Without) {
			continue
		}
		t := nixwire.Token{Kind: f.Kind}
		switch f.Kind { //nolint:exhaustive // what may be empty
		case nixwire.Int:
			t.Int = 1
		case nixwire.Path, nixwire.Derived:
			t.Str = storePath("0", "p")
		}
		tokens = append(tokens, t)
	}
	return tokens
}

// pathList is a list of paths as tokens.
func pathList(paths ...string) []nixwire.Token {
	list := []nixwire.Token{{Kind: nixwire.List, Int: uint64(len(paths))}}
	for _, p := range paths {
		list = append(list, nixwire.Token{Kind: nixwire.Path, Str: p})
	}
	return list
}

// info is what is known of a path whose archive has size bytes.
func info(size uint64) []nixwire.Token {
	return []nixwire.Token{
		{Kind: nixwire.OptPath}, {Kind: nixwire.Str, Str: "00"}, {Kind: nixwire.List}, {Int: 1}, {Int: size}, {Int: 1},
		{Kind: nixwire.List}, {Kind: nixwire.Str},
	}
}

// eventually waits until ok reports true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it never came: ", what)
		}
		time.Sleep(time.Millisecond) // polls; the test does not depend on how long
	}
}
