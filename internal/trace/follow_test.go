package trace_test

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/trace"
)

// A reader of its own goes on when the trace has been closed and its directory is gone.
func TestFollowAndTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tr, err := trace.Open(trace.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	text := "one\ntwo\n" + strings.Repeat("long", 20<<10) + "\nlast\n"
	for _, e := range []trace.Entry{{Op: trace.Text, Text: text}, {Op: trace.Close}} {
		if _, err := tr.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Render(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	size, _, _ := tr.Size()
	all, err := io.ReadAll(tr.Reader(t.Context()))
	if err != nil || int64(len(all)) != size {
		t.Fatalf("%d of %d bytes, %v", len(all), size, err)
	}
	for lines, want := range map[int]string{0: "", 1: "last\n", 3: string(all[strings.Index(string(all), "two"):]), 4: string(all), 99: string(all)} {
		at, err := tr.Tail(lines)
		if err != nil || string(all[at:]) != want {
			t.Errorf("the last %d lines begin at %d of %d, %v", lines, at, size, err)
		}
	}
	r, err := tr.Follow(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != string(all[4:]) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := tr.Follow(context.Background(), size+1); err == nil {
		t.Error("it is read from beyond its end")
	}
}
