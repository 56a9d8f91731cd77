package zstdframe_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"gitlab.com/skerry/skerry/internal/archive/zstdframe"
)

func read(t testing.TB, b []byte, workers int) ([]byte, error) {
	t.Helper()
	r, err := zstdframe.NewReader(context.Background(), bytes.NewReader(b), int64(len(b)), workers)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, 64<<20))
}

// stream compresses as others do: one frame that does not say how long it is.
func stream(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func frames(t testing.TB, contents ...[]byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var b []byte
	for _, c := range contents {
		b = z.EncodeAll(c, b)
	}
	return b
}

func TestReader(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 3<<20)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	text := bytes.Repeat([]byte("some text "), 300_000)
	skip := []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}
	huge := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than is decompressed in memory
	join := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	tests := map[string]struct{ archive, want []byte }{
		"nothing":          {nil, nil},
		"frames":           {frames(t, text, noise, []byte("x"), text), join(text, noise, []byte("x"), text)},
		"tiny last frame":  {frames(t, text, make([]byte, 1024)), join(text, make([]byte, 1024))},
		"stream":           {stream(t, join(text, noise)), join(text, noise)},
		"frames, stream":   {join(frames(t, text), stream(t, noise), frames(t, text)), join(text, noise, text)},
		"skippable":        {join(skip, frames(t, text), skip, stream(t, text), skip), join(text, text)},
		"huge frame":       {join(frames(t, text, huge), frames(t, text)), join(text, huge, text)},
		"many tiny frames": {frames(t, bytes.Split(text[:5000], []byte(" "))...), bytes.ReplaceAll(text[:5000], []byte(" "), nil)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, workers := range []int{1, 3} {
				got, err := read(t, tt.archive, workers)
				if err != nil || !bytes.Equal(got, tt.want) {
					t.Errorf("%d workers: %d bytes, want %d; %v", workers, len(got), len(tt.want), err)
				}
			}
		})
	}
}

func TestCutShort(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("some text "), 1000)
	for name, b := range map[string][]byte{"frames": frames(t, content), "stream": stream(t, content)} {
		for _, n := range []int{1, 3, 5, 8, len(b) / 2, len(b) - 1} {
			if _, err := read(t, b[:n], 2); err == nil {
				t.Errorf("%s: the first %d of %d bytes: no error", name, n, len(b))
			}
		}
	}
}

// A reader that is left early ends its goroutines: Close would hang otherwise.
func TestCloseEarly(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("some text "), 1000)
	many := make([][]byte, 100)
	for i := range many {
		many[i] = content
	}
	b := frames(t, many...)
	r, err := zstdframe.NewReader(context.Background(), bytes.NewReader(b), int64(len(b)), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	r.Close()
}

func FuzzReader(f *testing.F) {
	f.Add(frames(f, []byte("hello hello hello"), []byte("x")))
	f.Add(stream(f, bytes.Repeat([]byte("hello "), 100)))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = read(t, b, 2) })
}
