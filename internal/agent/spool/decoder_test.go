package spool

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func encoded() []byte {
	b := Append(nil, 10, Stdout, []byte("one\n"))
	b = Append(b, 11, Stderr, nil)
	b = Append(b, 12, Dropped, []byte{0, 0, 0, 0, 0, 0, 1, 0})
	b = Append(b, 12, Stdout, bytes.Repeat([]byte("x"), MaxData))
	return Append(b, 13, End, nil)
}

func decodeAll(d *Decoder) (recs []Record, err error) {
	for {
		r, err := d.Next()
		if err != nil {
			return recs, err
		}
		r.Data = bytes.Clone(r.Data)
		recs = append(recs, r)
	}
}

func TestDecoderReadsWhatAppendWrote(t *testing.T) {
	t.Parallel()
	want := []Record{
		{Offset: 100, Time: 10, Stream: Stdout, Data: []byte("one\n")},
		{Offset: 117, Time: 11, Stream: Stderr, Data: []byte{}},
		{Offset: 130, Time: 12, Stream: Dropped, Data: []byte{0, 0, 0, 0, 0, 0, 1, 0}},
		{Offset: 151, Time: 12, Stream: Stdout, Data: bytes.Repeat([]byte("x"), MaxData)},
		{Offset: 151 + HeaderSize + MaxData, Time: 13, Stream: End, Data: []byte{}},
	}
	for name, r := range map[string]io.Reader{
		"whole":    bytes.NewReader(append(encoded(), "what follows the end"...)),
		"one byte": iotest.OneByteReader(bytes.NewReader(encoded())),
		"data+EOF": iotest.DataErrReader(bytes.NewReader(encoded())),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeAll(NewDecoder(r, 100))
			if !errors.Is(err, io.EOF) {
				t.Fatalf("error = %v, want EOF", err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatal(d)
			}
		})
	}
}

func TestDecoderEveryCutIsUnexpectedEOF(t *testing.T) {
	t.Parallel()
	whole := append(Append(Append(nil, 1, Stdout, []byte("abc")), 2, Stderr, []byte("defg")), Append(nil, 3, End, nil)...)
	for n := range len(whole) {
		d := NewDecoder(bytes.NewReader(whole[:n]), 0)
		recs, err := decodeAll(d)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: error = %v", n, err)
		}
		rest, err := decodeAll(NewDecoder(bytes.NewReader(whole[d.Offset():]), d.Offset()))
		if !errors.Is(err, io.EOF) || len(recs)+len(rest) != 3 {
			t.Fatalf("cut at %d: resumed with %d+%d records and %v", n, len(recs), len(rest), err)
		}
	}
}

func TestDecoderRefusesWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	big := make([]byte, HeaderSize)
	putHeader(big, 0, Stdout, MaxData+1)
	for name, b := range map[string][]byte{
		"too large":        big,
		"stream 0":         Append(nil, 0, 0, nil),
		"stream 5":         Append(nil, 0, 5, nil),
		"short drop":       Append(nil, 0, Dropped, []byte{1}),
		"end with data":    Append(nil, 0, End, []byte{1}),
		"all bits set":     bytes.Repeat([]byte{0xff}, 100),
		"text, no records": []byte("HTTP/1.1 200 OK\r\n\r\n"),
	} {
		if _, err := NewDecoder(bytes.NewReader(b), 0).Next(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}

func TestDecoderDoesNotAllocate(t *testing.T) {
	one := Append(nil, 1, Stdout, bytes.Repeat([]byte("y"), 100<<10))
	r := &loop{b: one}
	d := NewDecoder(r, 0)
	next := func() {
		if _, err := d.Next(); err != nil {
			t.Fatal(err)
		}
	}
	next()
	if n := testing.AllocsPerRun(100, next); n != 0 {
		t.Fatalf("%v allocations a record", n)
	}
}

// loop reads b for ever.
type loop struct {
	b   []byte
	pos int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.pos:])
	l.pos = (l.pos + n) % len(l.b)
	return n, nil
}

func FuzzDecoder(f *testing.F) {
	f.Add(encoded()[:200])
	f.Add(Append(nil, -1, End, nil))
	f.Add([]byte{0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(iotest.HalfReader(bytes.NewReader(b)), 7)
		recs, err := decodeAll(d)
		if err == nil {
			t.Fatal("a decoder that ended without an error")
		}
		var again []byte
		for _, r := range recs {
			if r.Offset != int64(len(again))+7 {
				t.Fatalf("offset %d after %d bytes", r.Offset, len(again))
			}
			again = Append(again, r.Time, r.Stream, r.Data)
		}
		if !bytes.HasPrefix(b, again) || d.Offset() != int64(len(again))+7 {
			t.Fatalf("%d records encode to %q, read from %q", len(recs), again, b)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, size := range map[string]int{"100B": 100, "64KiB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			one := bytes.Repeat(Append(nil, 1, Stdout, bytes.Repeat([]byte("y"), size)), 1+(1<<20)/size)
			d := NewDecoder(&loop{b: one}, 0)
			b.SetBytes(int64(size + HeaderSize))
			for b.Loop() {
				if _, err := d.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
