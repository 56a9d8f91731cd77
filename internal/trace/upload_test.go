package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// coordinator takes the log as GitLab does: only what continues what it has.
type coordinator struct {
	mu      sync.Mutex
	proc    *process
	log     []byte
	patches int
	largest int
	answer  func(n int) (Patched, error) // for patch n, before it is looked at; nil answers nothing special
	broken  []string
}

func (c *coordinator) PatchTrace(_ context.Context, body []byte, start int64) (Patched, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc != nil && c.proc.dead.Load() {
		return Patched{}, errKilled
	}
	c.patches++
	c.largest = max(c.largest, len(body))
	var res Patched
	if c.answer != nil {
		var err error
		if res, err = c.answer(c.patches); err != nil {
			return res, err
		}
	}
	if start != int64(len(c.log)) {
		if start < int64(len(c.log)) && !bytes.HasPrefix(c.log[start:], body[:min(len(body), len(c.log)-int(start))]) {
			c.broken = append(c.broken, "other bytes than before")
		}
		return res, &OffsetError{Offset: int64(len(c.log))}
	}
	c.log = append(c.log, body...)
	res.Offset = int64(len(c.log))
	return res, nil
}

// logged is a complete trace with text as its log, as a later process finds it.
func logged(t *testing.T, text string) *Trace {
	t.Helper()
	o := Options{Dir: t.TempDir(), Clock: quick{}, Limit: 64 << 20}
	made := loggedWith(t, o, text)
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// loggedWith makes a complete trace with text as its log.
func loggedWith(t *testing.T, o Options, text string) *Trace {
	t.Helper()
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{{Op: Text, Text: text}, {Op: Close}} {
		if _, err := tr.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Render(t.Context(), &fakeSpools{}); err != nil {
		t.Fatal(err)
	}
	return tr
}

type busy struct{}

func (busy) Error() string             { return "429" }
func (busy) RetryAfter() time.Duration { return time.Second }

func TestUpload(t *testing.T) {
	t.Parallel()
	text := string(bytes.Repeat([]byte("0123456789abcde\n"), 200<<10)) // 3.1 MiB
	gone := errors.Join(ErrGone, errors.New("403"))
	tests := map[string]struct {
		answer  func(n int) (Patched, error)
		have    string
		resend  int64
		err     error
		patches int
		status  []string
	}{
		"whole":            {patches: 4},
		"errors are tried": {answer: failing(5, errors.New("503")), patches: 9},
		"too many":         {answer: failing(2, busy{}), patches: 6},
		"the job is gone":  {answer: failing(1<<30, gone), err: ErrGone, patches: 1},
		"it has more":      {have: text[:100], patches: 5},
		"it has less":      {have: text[:100], resend: 1 << 20, patches: 5},
		"it has all":       {have: text, patches: 1},
		"a status is told": {
			answer:  func(int) (Patched, error) { return Patched{Status: "canceling", Interval: time.Hour}, nil },
			patches: 4, status: []string{"canceling", "canceling", "canceling", "canceling"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := logged(t, text)
			if tc.resend > 0 {
				if err := tr.Resend(tc.resend); err != nil {
					t.Fatal(err)
				}
			}
			c := &coordinator{answer: tc.answer, log: []byte(tc.have)}
			var status []string
			err := tr.Upload(t.Context(), c, UploadOptions{OnStatus: func(s string) { status = append(status, s) }})
			if !errors.Is(err, tc.err) {
				t.Fatalf("error = %v, want %v", err, tc.err)
			}
			if c.patches != tc.patches || len(status) != len(tc.status) || len(c.broken) > 0 || c.largest > maxPatch {
				t.Errorf("%d patches, want %d; status %q; %q; largest %d", c.patches, tc.patches, status, c.broken, c.largest)
			}
			if tc.err == nil && string(c.log) != text {
				t.Errorf("the coordinator has %d bytes, want %d", len(c.log), len(text))
			}
			c.patches = 0
			if err := tr.Upload(t.Context(), c, UploadOptions{}); tc.err == nil && (err != nil || c.patches != 0) {
				t.Errorf("a second upload sent %d patches: %v", c.patches, err)
			}
		})
	}
}

func failing(times int, err error) func(int) (Patched, error) {
	return func(n int) (Patched, error) {
		if n <= times {
			return Patched{}, err
		}
		return Patched{}, nil
	}
}

func TestUploadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	tr, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := tr.Upload(ctx, &coordinator{}, UploadOptions{}); !errors.Is(err, cause) {
		t.Fatalf("error = %v", err)
	}
}

// A proxy that takes no more than so much of a body gets the log in smaller pieces.
func TestUploadInSmallerPieces(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"half": 512 << 10, "odd": 100_000, "next to nothing": 5 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := string(bytes.Repeat([]byte("0123456789abcde\n"), 100<<10))
			c := &coordinator{}
			small := patchFunc(func(ctx context.Context, body []byte, start int64) (Patched, error) {
				if len(body) > limit {
					return Patched{}, ErrTooLarge
				}
				return c.PatchTrace(ctx, body, start)
			})
			if err := logged(t, text).Upload(t.Context(), small, UploadOptions{}); err != nil {
				t.Fatal(err)
			}
			if string(c.log) != text || len(c.broken) > 0 {
				t.Errorf("the coordinator has %d bytes, want %d; %q", len(c.log), len(text), c.broken)
			}
		})
	}
}

type patchFunc func(context.Context, []byte, int64) (Patched, error)

func (f patchFunc) PatchTrace(ctx context.Context, body []byte, start int64) (Patched, error) {
	return f(ctx, body, start)
}

// A piece arrives but not its answer, and then the files that say how the log is made are damaged: what the
// coordinator has stays as it is, and the log's new end is added behind it.
func TestUploadAfterLostAnswerAndDamage(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), &coordinator{}
	text := strings.Repeat("a line that the coordinator has\n", 100)
	round := func(ctx context.Context, text string, p Patcher) error {
		tr, err := Open(Options{Dir: dir, Clock: quick{}})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		for _, e := range []Entry{{Op: Text, Text: text}, {Op: Close}} {
			if _, err := tr.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := tr.Render(t.Context(), &fakeSpools{}); err != nil {
			t.Fatal(err)
		}
		return tr.Upload(ctx, p, UploadOptions{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	unanswered := patchFunc(func(ctx context.Context, body []byte, start int64) (Patched, error) {
		_, err := c.PatchTrace(ctx, body, start)
		cancel()
		return Patched{}, errors.Join(err, io.ErrUnexpectedEOF)
	})
	if err := round(ctx, text, unanswered); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
	for _, name := range []string{outlineFile, checkpointFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := round(t.Context(), "the end", c); err != nil {
		t.Fatal(err)
	}
	if log := string(c.log); !strings.HasPrefix(log, text) || !strings.HasSuffix(log, "the end\n") || len(c.broken) > 0 {
		t.Errorf("the coordinator has %q; %q", log, c.broken)
	}
}

// TestUploadOfALostLog loses all files of a job's log, of which the coordinator has a part, and makes it anew with other
// words: the coordinator gets all of it, behind what it has, once.
func TestUploadOfALostLog(t *testing.T) {
	t.Parallel()
	const old, text = "00O the first runner said a good deal more\n01O bef", "00O little\n01O before\n01O after\n"
	for name, answer := range map[string]func(n int) (Patched, error){
		"at once": nil,
		"the answer to what was made anew is lost": func(n int) (Patched, error) {
			if n == 3 {
				return Patched{}, errors.New("502")
			}
			return Patched{}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Dir: t.TempDir(), Clock: quick{}}
			co := &coordinator{log: []byte(old), answer: answer}
			tr := loggedWith(t, o, text)
			if err := tr.Upload(t.Context(), co, UploadOptions{}); err != nil {
				t.Fatal(err)
			}
			if want := old + "\n" + yellow + madeAnew + reset + "\n" + text; string(co.log) != want {
				t.Errorf("the coordinator has:\n%s\nwant:\n%s", co.log, want)
			}
			if tr.Whole() {
				t.Error("its checksum is said to be that of what the coordinator has")
			}
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			was := len(co.log)
			if err := again.Upload(t.Context(), co, UploadOptions{}); err != nil || len(co.log) != was || again.Whole() {
				t.Errorf("a later process: %v, %d bytes more, whole: %v", err, len(co.log)-was, again.Whole())
			}
		})
	}
}

// TestUploadOfAFreshLog loses the answer to the first piece: what the coordinator has then is no lost log.
func TestUploadOfAFreshLog(t *testing.T) {
	t.Parallel()
	co := &coordinator{}
	tr := loggedWith(t, Options{Dir: t.TempDir(), Clock: quick{}}, "text\n")
	defer tr.Close()
	if err := tr.Upload(t.Context(), lossy{co}, UploadOptions{}); err != nil {
		t.Fatal(err)
	}
	if string(co.log) != "text\n" || !tr.Whole() {
		t.Errorf("the coordinator has %q, whole: %v", co.log, tr.Whole())
	}
}

// lossy loses the answer to the first piece.
type lossy struct{ *coordinator }

func (l lossy) PatchTrace(ctx context.Context, body []byte, start int64) (Patched, error) {
	first := l.patches == 0
	res, err := l.coordinator.PatchTrace(ctx, body, start)
	if first {
		return Patched{}, errors.New("cut")
	}
	return res, err
}
