package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func open(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// readAll reads from an offset to the end of a finished spool.
func readAll(t testing.TB, s *Spool, from int64) []byte {
	t.Helper()
	f, err := s.Follow(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check compares a spool's bytes with the output that was written and returns how much was dropped.
func check(t testing.TB, spool, written []byte) (dropped int) {
	t.Helper()
	recs, err := decodeAll(NewDecoder(bytes.NewReader(spool), 0))
	if !errors.Is(err, io.EOF) {
		t.Fatalf("spool of %d bytes: %v", len(spool), err)
	}
	pos, last := 0, int64(0)
	for _, r := range recs {
		if r.Time < last {
			t.Fatalf("time went back from %d to %d at offset %d", last, r.Time, r.Offset)
		}
		last = r.Time
		switch r.Stream {
		case Dropped:
			n := int(binary.BigEndian.Uint64(r.Data)) //nolint:gosec // the test's
			pos += n
			dropped += n
		case End:
			if pos != len(written) {
				t.Fatalf("the end came after %d of %d bytes", pos, len(written))
			}
			return dropped
		case Stdout, Stderr:
			if !bytes.HasPrefix(written[min(pos, len(written)):], r.Data) {
				t.Fatalf("record at %d does not hold the output at %d", r.Offset, pos)
			}
			pos += len(r.Data)
		}
	}
	t.Fatal("no end")
	return 0
}

func TestSpoolWholeWithoutReader(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Segment: 1000})
	var want []byte
	for i := range 500 {
		line := fmt.Appendf(nil, "line %d\n", i)
		want = append(want, line...)
		if _, err := s.Output(Stdout).Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	if d := check(t, readAll(t, s, 0), want); d != 0 {
		t.Fatalf("%d bytes dropped below the cap", d)
	}
}

func TestSpoolDropsTheMiddleWithoutReader(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{Cap: 4000, Tail: 2000, Segment: 1000})
	var want []byte
	for i := range 5000 {
		line := fmt.Appendf(nil, "line %d\n", i)
		want = append(want, line...)
		if _, err := s.Output(Stdout).Write(line); err != nil {
			t.Fatal(err)
		}
	}
	var disk int64
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if i, err := e.Info(); err == nil && e.Name() != indexName {
			disk += i.Size()
			if i.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %o", e.Name(), i.Mode().Perm())
			}
		}
	}
	if disk > 4000+2000+1000 {
		t.Errorf("%d bytes on disk", disk)
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, s, 0)
	if d := check(t, got, want); d < len(want)-6000 || !bytes.Contains(got, []byte("line 4999\n")) || !bytes.Contains(got, []byte("line 0\n")) {
		t.Fatalf("%d of %d bytes dropped", d, len(want))
	}
}

func TestSpoolWriterWaitsForAFollowersAck(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Cap: 2000, Tail: 500, Segment: 300})
	f, err := s.Follow(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want []byte
	for i := range 3000 {
		want = fmt.Appendf(want, "line %d\n", i)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for line := range bytes.Lines(want) {
			if _, err := s.Output(Stderr).Write(line); err != nil {
				t.Error(err)
			}
		}
		if err := s.Finish(); err != nil {
			t.Error(err)
		}
	})
	var got bytes.Buffer
	d := NewDecoder(io.TeeReader(f, &got), 0)
	for {
		r, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if held := d.Offset() - s.base(); held > 2000+300+100 {
			t.Fatalf("%d bytes held", held)
		}
		if err := s.Ack(r.End()); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if d := check(t, got.Bytes(), want); d != 0 {
		t.Fatalf("%d bytes dropped while a follower read", d)
	}
	if _, err := s.Follow(t.Context(), 0); !errors.Is(err, ErrTrimmed) {
		t.Errorf("reading what was acknowledged: %v", err)
	}
}

func (s *Spool) base() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head[0].start
}

func TestSpoolConcurrent(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Cap: 20000, Tail: 5000, Segment: 3000})
	var writers, readers sync.WaitGroup
	for _, st := range []Stream{Stdout, Stderr} {
		writers.Go(func() {
			for i := range 2000 {
				if _, err := fmt.Fprintf(s.Output(st), "%d line %d\n", st, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 { // readers that come and go; none acknowledges
		readers.Go(func() {
			for range 5 {
				f, err := s.Follow(t.Context(), 0)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.CopyN(io.Discard, f, 5000)
				if err := errors.Join(err, f.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	writers.Wait()
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	recs, err := decodeAll(NewDecoder(bytes.NewReader(readAll(t, s, 0)), 0))
	if !errors.Is(err, io.EOF) || len(recs) < 100 {
		t.Fatalf("%d records, %v", len(recs), err)
	}
}

func TestFollowerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	f, err := s.Follow(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan error)
	go func() { _, err := f.Read(make([]byte, 10)); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestSpoolSurvivesAFullDisk(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{Segment: 1000})
	if _, err := s.Output(Stdout).Write([]byte("stored\n")); err != nil {
		t.Fatal(err)
	}
	// A descriptor that cannot be written stands for the disk that is full.
	g := s.head[0]
	ro, err := os.Open(g.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	_ = g.file.Close()
	g.file = ro
	for range 3 {
		if n, err := s.Output(Stdout).Write([]byte("not stored\n")); n != 11 || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := s.Finish(); err == nil || s.Err() == nil {
		t.Error("the failure was kept quiet")
	}
	recs, err := decodeAll(NewDecoder(bytes.NewReader(readAll(t, s, 0)), 0))
	if !errors.Is(err, io.EOF) || len(recs) != 4 || recs[2].Stream != Dropped || recs[2].Data[7] != 33 ||
		!bytes.Contains(recs[1].Data, []byte("The output ends here")) {
		t.Fatalf("%v %v", recs, err)
	}
}

func TestOpenRefusesADamagedIndex(t *testing.T) {
	t.Parallel()
	for name, ix := range map[string]string{"no JSON": "{", "gap": `{"head":[{"seq":1,"size":10,"mem":"AA=="},{"seq":2,"start":40,"mem":"AA=="}]}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, indexName), []byte(ix), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkWriteAndFollow(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	chunk := bytes.Repeat([]byte("y\n"), 32<<10)
	f, err := s.Follow(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	done := make(chan error, 1)
	go func() {
		d := NewDecoder(f, 0)
		for {
			r, err := d.Next()
			if err != nil {
				done <- err
				return
			}
			if err := s.Ack(r.End()); err != nil {
				done <- err
				return
			}
		}
	}()
	b.SetBytes(int64(len(chunk)))
	out := s.Output(Stdout)
	for b.Loop() {
		if _, err := out.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	_ = s.Finish()
	if err := <-done; !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
}
