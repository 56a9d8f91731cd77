package proc

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// record is a stage's record: who wrote what, in order.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

// into is a writer of one stream; like the spool's it may read for itself.
type into struct {
	r      *record
	stream string
}

func (w into) Write(p []byte) (int, error) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.r.text.WriteString(w.stream + string(p))
	return len(p), nil
}

// opened makes outputs with a pipe for each writer and returns what a process would write to.
func opened(t *testing.T, writers ...into) (*outputs, []*os.File) {
	t.Helper()
	var st stdio
	var files []*os.File
	for _, w := range writers {
		fd, err := st.output(w)
		if err != nil {
			t.Fatal(err)
		}
		own, err := unix.Dup(int(fd))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, os.NewFile(uintptr(own), w.stream))
	}
	o := st.outputs
	st.outputs = nil
	st.release()
	t.Cleanup(o.close)
	return o, files
}

func TestOutputKeepsTheOrderOfStreams(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"OE", "EO"} {
		for range 20 { // an order that is left to chance shows itself
			var r record
			o, files := opened(t, into{&r, "O"}, into{&r, "E"})
			for _, s := range order {
				f := files[strings.IndexRune("OE", s)]
				if _, err := f.WriteString("1 "); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range files {
				f.Close()
			}
			if err := o.copy(); err != nil {
				t.Fatal(err)
			}
			want := order[:1] + "1 " + order[1:] + "1 "
			if got := r.text.String(); got != want {
				t.Fatalf("written as %q, recorded as %q", want, got)
			}
		}
	}
}

func TestOutputOfMuch(t *testing.T) {
	t.Parallel()
	var r record
	o, files := opened(t, into{&r, ""})
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	done := make(chan error, 1)
	go func() {
		_, err := files[0].Write(want)
		files[0].Close()
		done <- err
	}()
	if err := o.copy(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.text.String(); got != string(want) {
		t.Errorf("%d of %d bytes", len(got), len(want))
	}
}

// What is in the pipes when the process ends is kept though others hold them; they are not waited for.
func TestOutputThatOthersHold(t *testing.T) {
	t.Parallel()
	var r record
	o, files := opened(t, into{&r, "O"}, into{&r, "E"})
	if _, err := files[1].WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	o.hurry()
	if err := o.copy(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("Elast words", r.text.String()); d != "" {
		t.Error(d)
	}
	if took := time.Since(begun); took < drain { // and not for ever
		t.Errorf("took %s", took)
	}
	o.close()
	if _, err := files[0].WriteString("too late"); err == nil || !strings.Contains(err.Error(), syscall.EPIPE.Error()) {
		t.Errorf("a late writer gets %v", err)
	}
}

func TestOutputOfAnEndlessWriter(t *testing.T) {
	t.Parallel()
	var r record
	o, files := opened(t, into{&r, ""})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for block := make([]byte, 4096); ; {
			if _, err := files[0].Write(block); err != nil {
				return
			}
		}
	}()
	o.hurry()
	if err := o.copy(); err != nil {
		t.Fatal(err)
	}
	o.close()
	<-stopped
}
