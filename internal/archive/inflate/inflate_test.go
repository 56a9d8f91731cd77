package inflate_test

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/flate"

	"gitlab.com/skerry/skerry/internal/archive/inflate"
)

func compress(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gather(run func(func([]byte) error) error) ([]byte, error) {
	var got []byte
	err := run(func(b []byte) error { got = append(got, b...); return nil })
	return got, err
}

// inputs are contents of every kind.
func inputs() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 300_000)
	skewed := make([]byte, 300_000) // long codes
	for i := range noise {
		noise[i] = byte(r.Uint32())
		skewed[i] = byte(r.ExpFloat64() * 9)
	}
	var words strings.Builder
	for words.Len() < 400_000 {
		fmt.Fprintf(&words, "word%d ", r.IntN(5000))
	}
	runs := bytes.Repeat([]byte("a"), 100_000)
	for n := 1; n < 40; n++ {
		runs = append(runs, bytes.Repeat(noise[:n], 20)...)
	}
	far := append(append([]byte{}, noise[:40_000]...), noise[8000:40_000]...)
	return map[string][]byte{
		"empty": nil, "one": []byte("x"), "short": []byte("hello hello hello"), "noise": noise,
		"skewed": skewed, "words": []byte(words.String()), "runs": runs, "far": far,
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for name, want := range inputs() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 2, 5, 6, 9} {
			t.Run(fmt.Sprintf("%s/%d", name, level), func(t *testing.T) {
				t.Parallel()
				packed := compress(t, want, level)
				for _, chunk := range []int{1 << 20, 70_000, 1000} {
					d := inflate.New(chunk)
					for range 2 { // a decoder can be used again
						got, err := gather(func(emit func([]byte) error) error { return d.Bytes(packed, emit) })
						if err != nil || !bytes.Equal(got, want) {
							t.Errorf("Bytes, chunks of %d: %v, %d bytes, want %d", chunk, err, len(got), len(want))
						}
						r := iotest.HalfReader(bytes.NewReader(packed))
						got, err = gather(func(emit func([]byte) error) error { return d.Reader(r, emit) })
						if err != nil || !bytes.Equal(got, want) {
							t.Errorf("Reader, chunks of %d: %v, %d bytes, want %d", chunk, err, len(got), len(want))
						}
					}
				}
			})
		}
	}
}

func TestCutShort(t *testing.T) {
	t.Parallel()
	packed := compress(t, inputs()["words"][:3000], 6)
	d := inflate.New(1 << 16)
	for n := range packed {
		_, err := gather(func(emit func([]byte) error) error { return d.Bytes(packed[:n], emit) })
		if err == nil {
			t.Fatalf("%d of %d bytes: no error", n, len(packed))
		}
	}
}

func TestErrorsAreReturned(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	packed := compress(t, inputs()["words"], 6)
	d := inflate.New(1 << 16)
	if err := d.Bytes(packed, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error of emit: %v", err)
	}
	r := io.MultiReader(bytes.NewReader(packed[:100]), iotest.ErrReader(stop))
	if err := d.Reader(r, func([]byte) error { return nil }); !errors.Is(err, stop) {
		t.Errorf("error of the reader: %v", err)
	}
}

// FuzzDecode compares with the standard library: the same content, or an error in both.
func FuzzDecode(f *testing.F) {
	for _, b := range inputs() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
			if p := compress(f, b[:min(len(b), 2000)], level); len(p) < 4000 {
				f.Add(p)
			}
		}
	}
	d := inflate.New(1 << 15)
	enough := errors.New("enough")
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(stdflate.NewReader(bytes.NewReader(b)), 1<<20))
		if len(want) == 1<<20 {
			return // a bomb: too long to compare
		}
		var got []byte
		err := d.Bytes(b, func(p []byte) error {
			if got = append(got, p...); len(got) > 1<<20 {
				return enough
			}
			return nil
		})
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, compress/flate says %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatal("content differs from compress/flate's")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	want := inputs()["words"]
	packed := compress(b, want, 1)
	b.Run("inflate", func(b *testing.B) {
		d := inflate.New(1 << 20)
		b.SetBytes(int64(len(want)))
		for b.Loop() {
			if err := d.Bytes(packed, func([]byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("klauspost", func(b *testing.B) {
		r := flate.NewReader(nil)
		out := make([]byte, len(want))
		b.SetBytes(int64(len(want)))
		for b.Loop() {
			_ = r.(flate.Resetter).Reset(bytes.NewReader(packed), nil)
			if _, err := io.ReadFull(r, out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
