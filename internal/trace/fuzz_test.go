package trace

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func seeded() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// FuzzSpool renders whatever an agent may send: it must end, equal what Offline says, hold no
// secret and keep to the limit.
func FuzzSpool(f *testing.F) {
	f.Add(encode(rec{1, 1, "a hun"}, rec{2, 2, "x\r"}, rec{3, 1, "ter22\n"}, rec{4, end, ""}), true)
	f.Add(encode(rec{1, 1, "\xff\xe2\x82"}, rec{2, 3, "12345678"}, rec{3, 9, "?"}), false)
	f.Add([]byte("HTTP/1.1 500 oh no\r\n\r\n"), true)
	f.Add(randomSpool(seeded(), func() int64 { return 5 }), true)
	f.Fuzz(func(t *testing.T, data []byte, stamps bool) {
		o := Options{Dir: t.TempDir(), Clock: quick{}, Timestamps: stamps, Secrets: []string{"hunter22", "a\nb"}, Limit: 2000, every: 100}
		tr, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		for _, e := range []Entry{{Op: Include, Stage: "s"}, {Op: Close}} {
			if _, err := tr.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		s := &fakeSpools{data: map[string][]byte{"s": data}, acked: map[string]int64{}, calm: true, r: seeded()}
		outline, err := os.ReadFile(filepath.Join(o.Dir, outlineFile))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := Offline(outline, func(string, string) ([]byte, error) { return data, nil }, o)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return // a spool that has no end is waited for
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Render(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(o.Dir, logName))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, whole) {
			t.Fatalf("got  %q\nwant %q", got, whole)
		}
		if bytes.Contains(got, []byte("hunter22")) || len(got) > 2000+300 {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
	})
}
