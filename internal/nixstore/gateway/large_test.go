package gateway_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// random are bytes of which no two parts are alike.
func random(size int) string {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // reproducible
	for at := 0; at+8 <= size; at += 8 {
		binary.LittleEndian.PutUint64(b[at:], r.Uint64())
	}
	return string(b)
}

// tree is an archive of a directory with files of these sizes.
func tree(sizes ...int) []byte {
	var b bytes.Buffer
	w := nixwire.NewWriter(&b, 4096)
	words := func(words ...string) {
		for _, s := range words {
			w.String(s)
		}
	}
	words("nix-archive-1", "(", "type", "directory")
	for i, size := range sizes {
		words("entry", "(", "name", fmt.Sprintf("f%03d", i), "node", "(", "type", "regular", "contents", random(size), ")", ")")
	}
	words(")")
	_ = w.Flush() // to memory
	return b.Bytes()
}

// add begins to add what is in frames of a size.
func (c *client) add(method string, content []byte, frame int) {
	c.w.Uint64(uint64(nixwire.AddToStore))
	nixwire.Write(c.w, []nixwire.Token{tStr("n"), tStr(method), tList(0), tInt(0)})
	f := nixwire.NewFrameWriter(c.w)
	for ; len(content) > 0; content = content[min(frame, len(content)):] {
		_, _ = f.Write(content[:min(frame, len(content))]) // the error is Flush's, too
	}
}

// TestLargeFiles adds files that the kernel passes on, in frames of several sizes, each with a question right behind it.
func TestLargeFiles(t *testing.T) {
	t.Parallel()
	mixed := tree(5<<20+3, 10, 300<<10, 0, 64<<10, 1<<20)
	for _, test := range []struct {
		name, method string
		content      []byte
		frame        int
	}{
		{"as Nix does", "fixed:r:sha256", mixed, 32 << 10},
		{"frames of a prime", "fixed:r:sha256", mixed, 9973},
		{"frames of little", "fixed:r:sha256", tree(700 << 10), 9},
		{"one frame", "fixed:r:sha256", mixed, 1 << 30},
		{"no archive", "fixed:sha256", []byte(random(3<<20 + 1)), 32 << 10},
		{"no archive, one frame", "fixed:sha256", []byte(random(3<<20 + 1)), 1 << 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, &daemon{}, storePath("0", "p"))
			_, socket := newGateway(t, gateway.Config{Upstream: d.socket, Roots: t.TempDir(), Job: "j"})
			c := mustConnect(t, socket)
			c.add(test.method, test.content, test.frame)
			nixwire.NewFrameWriter(c.w).End()
			c.w.Uint64(uint64(nixwire.IsValidPath))
			c.w.String(storePath("0", "p"))
			if err := c.w.Flush(); err != nil {
				t.Fatal(err)
			}
			for _, op := range []nixwire.Op{nixwire.AddToStore, nixwire.IsValidPath} {
				if err := c.last(); err != nil {
					t.Fatal(op, err)
				}
				shape, _ := nixwire.Lookup(op)
				if _, err := nixwire.Read(c.r, c.v, shape.Answer, &nixwire.Limit{Left: 1 << 20}); err != nil {
					t.Fatal(op, err)
				}
			}
			if got := d.asked(nixwire.AddToStore); len(got) != 1 || !bytes.Equal(got[0].content, test.content) {
				t.Errorf("%d calls, and the content is another", len(got))
			}
		})
	}
}

// TestLargeFilesEndEarly ends streams in the middle of a file that the kernel passes on, and connections.
func TestLargeFilesEndEarly(t *testing.T) {
	t.Parallel()
	whole := tree(5 << 20)
	for _, length := range []int{1 << 20, len(whole) - 100} {
		for _, hangup := range []bool{false, true} {
			t.Run(fmt.Sprint(length, hangup), func(t *testing.T) {
				t.Parallel()
				d := newDaemon(t, &daemon{})
				_, socket := newGateway(t, gateway.Config{Upstream: d.socket, Roots: t.TempDir(), Job: "j"})
				c := mustConnect(t, socket)
				c.add("fixed:r:sha256", whole[:length], 32<<10)
				if !hangup {
					nixwire.NewFrameWriter(c.w).End()
				}
				if err := c.w.Flush(); err != nil {
					t.Fatal(err)
				}
				if hangup {
					_ = c.conn.Close()
				} else if err := c.last(); err == nil {
					t.Error("half an archive was added")
				}
				eventually(t, "the daemon is left", func() bool { return d.open() == 0 })
				if got := d.asked(nixwire.AddToStore); len(got) != 0 {
					t.Error("the daemon was given an archive")
				}
			})
		}
	}
}
