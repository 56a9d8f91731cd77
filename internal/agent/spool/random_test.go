package spool

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestSpoolRandom writes, follows, reads, acknowledges and kills at random, and compares what was
// read with what was written.
func TestSpoolRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, seed)
			for range 400 {
				m.step()
			}
			m.finish()
		})
	}
}

type model struct {
	t        *testing.T
	r        *rand.Rand
	dir      string
	o        Options
	s        *Spool
	f        *Follower
	written  []byte
	read     []byte // from offset 0
	acked    int64
	detached bool // was ever without a follower
	clock    int64
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), detached: true} //nolint:gosec // a test's
	m.o = Options{Cap: 100 + m.r.Int64N(2000), Tail: 30 + m.r.Int64N(800), Segment: 50 + m.r.Int64N(400)}
	m.o.Now = func() int64 { m.clock += m.r.Int64N(100) - 20; return m.clock } // jumps back too
	m.s = open(t, m.dir, m.o)
	return m
}

func (m *model) step() {
	switch k := m.r.IntN(100); {
	case k < 60:
		m.write()
	case k < 70:
		m.follow()
	case k < 75:
		m.unfollow()
	case k < 88:
		m.readSome()
	case k < 96:
		m.ack()
	default:
		m.kill()
	}
}

func (m *model) write() {
	n := m.r.IntN(150)
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(m.r.Uint32()) //nolint:gosec // a test's
	}
	if m.f != nil { // a writer would wait for us
		for m.s.full(int64(n + HeaderSize)) {
			m.readSome()
			m.ackTo(int64(len(m.read)))
		}
	}
	if n == 0 {
		return
	}
	m.written = append(m.written, p...)
	if _, err := m.s.Output(Stdout).Write(p); err != nil {
		m.t.Fatal(err)
	}
	if held := m.s.end - m.s.acked + m.s.tailSize; held > m.o.Cap+2*m.o.Tail+m.o.Segment+400 { // a successor knows acks to the segment
		m.t.Fatalf("%d bytes held with %+v", held, m.o)
	}
}

func (m *model) follow() {
	m.unfollow()
	f, err := m.s.Follow(m.t.Context(), int64(len(m.read)))
	if err != nil {
		m.t.Fatal(err)
	}
	m.f = f
}

func (m *model) unfollow() {
	if m.f != nil {
		_ = m.f.Close()
		m.f = nil
	}
}

func (m *model) readSome() {
	if m.f == nil || int64(len(m.read)) == m.s.end {
		return
	}
	p := make([]byte, 1+m.r.IntN(300))
	n, err := m.f.Read(p)
	if err != nil {
		m.t.Fatal(err)
	}
	m.read = append(m.read, p[:n]...)
}

func (m *model) ack() { m.ackTo(m.acked + m.r.Int64N(int64(len(m.read))-m.acked+1)) }

// ackTo acknowledges the whole records up to an offset.
func (m *model) ackTo(to int64) {
	d := NewDecoder(bytes.NewReader(m.read[m.acked:]), m.acked)
	for {
		r, err := d.Next()
		if err != nil || r.End() > to {
			break
		}
		m.acked = r.End()
	}
	if err := m.s.Ack(m.acked); err != nil {
		m.t.Fatal(err)
	}
}

// kill opens the spool again as a successor of a killed agent does, with half a record at the end.
func (m *model) kill() {
	m.unfollow()
	last := lastOf(m.s.tail)
	if last == nil {
		last = lastOf(m.s.head)
	}
	_ = m.s.Close()
	if last != nil && last.file != nil {
		torn := Append(nil, 5, Stdout, []byte("torn torn"))
		path := filepath.Join(m.dir, segmentName(last.seq))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		if _, err := f.Write(torn[:m.r.IntN(len(torn))]); err != nil {
			m.t.Fatal(err)
		}
		_ = f.Close()
	}
	end := m.s.end
	m.s = open(m.t, m.dir, m.o)
	if m.s.end != end {
		m.t.Fatalf("the head ended at %d, now at %d", end, m.s.end)
	}
}

func (m *model) finish() {
	m.unfollow()
	if err := m.s.Finish(); err != nil {
		m.t.Fatal(err)
	}
	if m.r.IntN(2) == 0 {
		m.kill()
		if !m.s.Finished() {
			m.t.Fatal("not finished after it was opened again")
		}
	}
	base := m.acked
	again := readAll(m.t, m.s, base)
	if !bytes.HasPrefix(again, m.read[base:]) {
		m.t.Fatal("the same offsets hold other bytes than before")
	}
	check(m.t, append(m.read[:base:base], again...), m.written)
	if !bytes.Contains(m.written, []byte("x")) {
		m.t.Fatal("nothing written")
	}
}
