package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/agent/spool"
)

// quick is a clock a thousand times as fast.
type quick struct{}

func (quick) Now() time.Time                         { return time.Now() }
func (quick) After(d time.Duration) <-chan time.Time { return time.After(d / 1000) }

// process stands for one runner process: after its end nothing it does has an effect.
type process struct {
	left atomic.Int64 // calls before it is killed
	cut  int          // so many bytes of the last write are written
	dead atomic.Bool
	end  context.CancelFunc
}

var errKilled = errors.New("killed")

func (p *process) fault(_ string, n int) (int, error) {
	left := p.left.Add(-1)
	switch {
	case left > 0:
		return n, nil
	case left == 0:
		p.dead.Store(true)
		p.end()
		return min(n, p.cut), errKilled
	default:
		return 0, errKilled
	}
}

// fakeSpools serves spools like agents do: they break off, read in small pieces and forget what was
// acknowledged.
type fakeSpools struct {
	mu    sync.Mutex
	r     *rand.Rand
	data  map[string][]byte // by stage
	acked map[string]int64
	proc  *process
	calm  bool               // streams do not break off
	ended func(stage string) // called when a spool without an End has been read
}

func (f *fakeSpools) OpenSpool(_ context.Context, _, stage string, from int64) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.data[stage]
	switch {
	case from < f.acked[stage]:
		return nil, &TrimmedError{First: f.acked[stage]}
	case from == int64(len(b)) && f.ended != nil:
		f.ended(stage)
		return nil, errors.New("no such place")
	case !f.calm && f.r.IntN(4) == 0:
		return nil, errors.New("connection refused")
	}
	rest := b[from:]
	if !f.calm && f.r.IntN(2) == 0 {
		rest = rest[:f.r.IntN(len(rest)+1)]
	}
	return io.NopCloser(&pieces{b: rest, most: 1 + f.r.IntN(300)}), nil
}

func (f *fakeSpools) AckSpool(_ context.Context, _, stage string, to int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.proc != nil && f.proc.dead.Load() {
		return errKilled
	}
	f.acked[stage] = max(f.acked[stage], to)
	return nil
}

type pieces struct {
	b    []byte
	most int
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.b[:min(p.most, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

// scenario is a job's log to be.
type scenario struct {
	opts    Options
	entries []Entry
	spools  map[string][]byte
}

func randomScenario(r *rand.Rand) scenario {
	s := scenario{spools: map[string][]byte{}}
	s.opts = Options{
		Secrets:    []string{"hunter22", "two\nlines", "aab", "aaba", "é€"}[:r.IntN(6)],
		Prefixes:   []string{"tok-"},
		FewTokens:  r.IntN(2) == 0,
		Timestamps: r.IntN(3) > 0,
		Sections:   r.IntN(3) > 0,
		Limit:      []int64{0, 100, 700, 5000}[r.IntN(4)],
		every:      int64(1 + r.IntN(2000)),
	}
	now := int64(1755823443123456)
	tick := func() int64 { now += r.Int64N(900000); return now }
	add := func(e Entry) {
		e.Key, e.Time = fmt.Sprint("k", len(s.entries)), tick()
		s.entries = append(s.entries, e)
	}
	for n := range r.IntN(5) {
		name := fmt.Sprint("stage", n)
		add(Entry{Op: SectionStart, Section: name, Options: []string{"", "collapsed=true"}[r.IntN(2)]})
		for range r.IntN(3) {
			add(Entry{Op: Text, Text: randomText(r, 5) + "\n", Stream: []int{0, 0, FirstService, FirstService + 1, 300}[r.IntN(5)]})
		}
		if r.IntN(4) > 0 {
			add(Entry{Op: Include, Place: "build", Stage: name})
			s.spools[name] = randomSpool(r, tick)
		}
		add(Entry{Op: SectionEnd, Section: name})
	}
	add(Entry{Op: Text, Text: "Job succeeded"})
	add(Entry{Op: Close})
	return s
}

func randomText(r *rand.Rand, most int) string {
	all := []string{
		"hunter22", "hunter", "two\nlines", "two\r\nlines", "two\n", "aab", "aaba", "a", "glpat-abc", "glpat-", "tok-", "gl",
		"?rss_token=abc", "&x-amz-", "\n", "\n", "\r\n", "\r", " ", "plain words", "é€", "\xe2\x82", "\xff", "é", "€", "\x1b[0K", "世界",
	}
	var b strings.Builder
	for range r.IntN(most) {
		b.WriteString(all[r.IntN(len(all))])
	}
	if r.IntN(40) == 0 {
		b.WriteString(strings.Repeat("long ", r.IntN(4000)))
	}
	return b.String()
}

func randomSpool(r *rand.Rand, tick func() int64) []byte {
	var b []byte
	for range r.IntN(60) {
		t := tick()
		if r.IntN(50) == 0 {
			t = []int64{-5, 1 << 62, -1 << 63}[r.IntN(3)]
		}
		if r.IntN(15) == 0 {
			b = spool.Append(b, t, spool.Dropped, []byte{0, 0, 0, 0, 0, 1, byte(r.IntN(256)), 7})
		}
		text := []byte(randomText(r, 8))
		for len(text) > 0 { // a text of several records, of one stream or both
			n := 1 + r.IntN(len(text))
			b = spool.Append(b, t, spool.Stdout+spool.Stream(r.IntN(5)/4), text[:n])
			text = text[n:]
		}
	}
	switch r.IntN(8) {
	case 0:
		return append(b, "this is no record, and far too long for one"...)
	case 1:
		return b // the place died
	default:
		return spool.Append(b, tick(), spool.End, nil)
	}
}

// live runs one process until the log is complete or the process is dead.
func (s *scenario) live(t *testing.T, r *rand.Rand, dir string, f *fakeSpools, c *coordinator, kill int64) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &process{cut: r.IntN(50), end: cancel}
	p.left.Store(kill)
	f.proc, c.proc = p, p
	o := s.opts
	o.Dir, o.Clock, o.fault = dir, quick{}, p.fault
	tr, err := Open(o)
	if err != nil {
		if errors.Is(err, errKilled) {
			return false
		}
		t.Fatal(err)
	}
	defer tr.Close()
	f.ended = func(stage string) { _ = tr.Abandon("build", stage, "the place died.") }
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, e := range s.entries {
			if _, err := tr.Append(e); err != nil && !p.dead.Load() {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		if err := tr.Upload(ctx, c, UploadOptions{}); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	if err := tr.Render(ctx, f); err != nil && !p.dead.Load() {
		t.Error(err)
	}
	wg.Wait()
	return !p.dead.Load()
}

func (s *scenario) check(t *testing.T, seed uint64, dir string, c *coordinator) {
	t.Helper()
	outline, err := os.ReadFile(filepath.Join(dir, outlineFile))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Offline(outline, func(_, stage string) ([]byte, error) { return s.spools[stage], nil }, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("seed %d: %+v: the log differs from the one computed offline (-want +got):\n%s", seed, s.opts, cmp.Diff(lines(want), lines(got)))
	}
	if !bytes.Equal(c.log, want) {
		t.Fatalf("seed %d: the coordinator's log differs (-want +got):\n%s", seed, cmp.Diff(lines(want), lines(c.log)))
	}
	o := s.opts
	o.Dir = dir
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if size, crc, complete := tr.Size(); size != int64(len(want)) || crc != crc32.ChecksumIEEE(want) || !complete {
		t.Fatalf("seed %d: size %d, CRC %08x, complete %t", seed, size, crc, complete)
	}
	if read, err := io.ReadAll(tr.Reader(t.Context())); err != nil || !bytes.Equal(read, want) {
		t.Fatalf("seed %d: read %d bytes, %v", seed, len(read), err)
	}
}

func lines(b []byte) []string { return strings.SplitAfter(fmt.Sprintf("%q", b), `\n`) }

func TestRenderEqualsOffline(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := randomScenario(r)
		dir := t.TempDir()
		f := &fakeSpools{r: r, data: s.spools, acked: map[string]int64{}}
		c := &coordinator{}
		if !s.live(t, rand.New(rand.NewPCG(seed, 4)), dir, f, c, 1<<40) {
			t.Fatal("the process died")
		}
		s.check(t, seed, dir, c)
	}
}

func TestRenderSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	kills := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		s := randomScenario(r)
		dir := t.TempDir()
		f := &fakeSpools{r: r, data: s.spools, acked: map[string]int64{}}
		c := &coordinator{}
		k := rand.New(rand.NewPCG(seed, 6))
		for n := 0; ; n++ {
			kill := int64(1 + k.IntN(20))
			if n > 40 {
				kill = 1 << 40
			}
			if s.live(t, k, dir, f, c, kill) {
				break
			}
			kills++
		}
		s.check(t, seed, dir, c)
	}
	if kills < 300 {
		t.Fatalf("only %d kills: this test tests little", kills)
	}
}
