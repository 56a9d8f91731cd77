package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/agent/spool"
)

// at is a time in microseconds: n seconds into a known minute.
func at(n float64) int64 { return 1609462800020010 + int64(n*1e6) }

type rec struct {
	t    float64
	s    spool.Stream
	data string
}

func encode(recs ...rec) []byte {
	var b []byte
	for _, r := range recs {
		b = spool.Append(b, at(r.t), r.s, []byte(r.data))
	}
	return b
}

// render makes the log of one stage between a line and Close, in one process.
func render(t *testing.T, o Options, data []byte, before ...Entry) string {
	t.Helper()
	o.Dir, o.Clock = t.TempDir(), quick{}
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for _, e := range append(before, Entry{Op: Include, Stage: "s", Time: at(0)}, Entry{Op: Close, Time: at(59)}) {
		if _, err := tr.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	f := &fakeSpools{data: map[string][]byte{"s": data}, acked: map[string]int64{}, calm: true, r: seeded()}
	if err := tr.Render(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if f.acked["s"] == 0 {
		t.Error("the spool was not acknowledged")
	}
	b, err := io.ReadAll(tr.Reader(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const end = spool.End

func TestLines(t *testing.T) {
	t.Parallel()
	section := []Entry{
		{Op: SectionStart, Section: "get_sources", Options: "collapsed=true", Time: at(0)},
		{Op: Text, Text: "\x1b[36;1mGetting\x1b[0;m", Time: at(0.5)},
		{Op: SectionEnd, Section: "get_sources", Time: at(0.6)},
	}
	tests := []struct {
		name         string
		before       []Entry
		recs         []rec
		plain, stamp string
	}{
		{
			"lines, split lines and an unended one", nil,
			[]rec{{1, 1, "one\ntwo, "}, {2, 2, "err"}, {3, 1, "split\n"}, {4, 2, "or\n"}, {5, 1, "unended"}, {6, end, ""}},
			"one\ntwo, errsplit\nor\nunended",
			"2021-01-01T01:00:01.020010Z 01O one\n2021-01-01T01:00:01.020010Z 01O two, split\n" +
				"2021-01-01T01:00:02.020010Z 01E error\n2021-01-01T01:00:05.020010Z 01O unended\n",
		},
		{
			"carriage returns", nil,
			[]rec{{1, 1, "10%\r"}, {2, 1, "20%\r\x1b[0K"}, {3, 1, "done\r\n"}, {4, end, ""}},
			"10%\r20%\r\x1b[0Kdone\r\n",
			"2021-01-01T01:00:01.020010Z 01O 10%\r\n2021-01-01T01:00:02.020010Z 01O+20%\r\x1b[0K\n2021-01-01T01:00:03.020010Z 01O+done\r\n",
		},
		{
			"section marks", section, []rec{{1, 1, "x\n"}, {2, end, ""}},
			"section_start:1609462800:get_sources[collapsed=true]\r\x1b[0K\x1b[36;1mGetting\x1b[0;m\nsection_end:1609462800:get_sources\r\x1b[0Kx\n",
			"2021-01-01T01:00:00.020010Z 00O section_start:1609462800:get_sources[collapsed=true]\r\x1b[0K\n" +
				"2021-01-01T01:00:00.520010Z 00O+\x1b[36;1mGetting\x1b[0;m\n" +
				"2021-01-01T01:00:00.620010Z 00O section_end:1609462800:get_sources\r\x1b[0K\n2021-01-01T01:00:01.020010Z 01O x\n",
		},
		{
			"what is not UTF-8", nil, []rec{{1, 1, "a\xffb \xe2\x82"}, {2, 1, "\xac \xe2\x82"}, {3, end, ""}},
			"a\ufffdb \u20ac \ufffd\ufffd", "2021-01-01T01:00:01.020010Z 01O a\ufffdb \u20ac \ufffd\ufffd\n",
		},
		{
			"dropped output", nil, []rec{{1, 1, "a"}, {2, 3, "\x00\x00\x00\x00\x00\x00\x00\x09"}, {3, 1, "b\n"}, {4, end, ""}},
			"a\n" + yellow + dropped(9) + reset + "\nb\n",
			"2021-01-01T01:00:01.020010Z 01O a\n2021-01-01T01:00:02.020010Z 00O " + yellow + dropped(9) + reset + "\n2021-01-01T01:00:03.020010Z 01O b\n",
		},
		{
			"no record", nil, []rec{{1, 1, "a\n"}, {2, 9, "b"}},
			"a\n" + red + corrupt(15) + reset + "\n",
			"2021-01-01T01:00:01.020010Z 01O a\n2021-01-01T01:00:01.020010Z 00O " + red + corrupt(15) + reset + "\n",
		},
		{
			"a secret over records, streams apart", nil,
			[]rec{{1, 1, "a hun"}, {2, 2, "hunter22 hun"}, {3, 1, "ter22\n"}, {4, end, ""}},
			"a [MASKED] [MASKED]\nhun", // standard error lets "hun" go at its end
			"2021-01-01T01:00:01.020010Z 01O a [MASKED]\n2021-01-01T01:00:02.020010Z 01E [MASKED] hun\n",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := Options{Sections: true, Secrets: []string{"hunter22"}}
			if d := cmp.Diff(tc.plain, render(t, o, encode(tc.recs...), tc.before...)); d != "" {
				t.Error("without timestamps: ", d)
			}
			o.Timestamps = true
			if d := cmp.Diff(tc.stamp, render(t, o, encode(tc.recs...), tc.before...)); d != "" {
				t.Error("with timestamps: ", d)
			}
		})
	}
}

func TestLimitKeepsHeadAndTail(t *testing.T) {
	t.Parallel()
	var b []byte
	for n := range 1000 {
		b = spool.Append(b, at(1), spool.Stdout, fmt.Appendf(nil, "line %04d\n", n))
	}
	got := render(t, Options{Limit: 1000}, spool.Append(b, at(2), spool.End, nil))
	const marker = "\x1b[33;1mJob's log exceeded limit of 1000 bytes. 9010 bytes were left out here; what follows is the end of the log.\x1b[0;m\n"
	if !strings.HasPrefix(got, "line 0000\n") || !strings.Contains(got, "\nline 0074\n"+marker+"line 0976\n") || !strings.HasSuffix(got, "\nline 0999\n") {
		t.Errorf("the log is\n%s", got)
	}
	if len(got) > 1000+len(marker) {
		t.Errorf("%d bytes", len(got))
	}
	if whole := render(t, Options{Limit: 10000}, spool.Append(b, at(2), spool.End, nil)); len(whole) != 10000 || strings.Contains(whole, "exceeded") {
		t.Errorf("a log of exactly the limit has become %d bytes", len(whole))
	}
}

func TestFullDiskIsSaid(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"log", checkpointFile} {
		writes := 0
		full := func(op string, n int) (int, error) {
			if writes++; op == what && writes > 3 {
				return n / 2, syscall.ENOSPC
			}
			return n, nil
		}
		line := rec{1, 1, strings.Repeat("x", 99) + "\n"}
		var recs []rec
		for range 50 {
			recs = append(recs, line)
		}
		got := render(t, Options{fault: full, every: 300, Timestamps: true}, encode(append(recs, rec{2, end, ""})...))
		before, last, ok := strings.Cut(got, "\n2021-01-01T01:00:59.020010Z 00O \x1b[31;1mERROR: the log ends here")
		if !ok || !strings.Contains(last, "no space left on device") || !strings.HasSuffix(before, "x") || strings.Count(got, "ERROR") != 1 {
			t.Errorf("%s: the log is %q", what, got)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	data := encode(rec{1, 1, "one\n"}, rec{2, 1, "two\n"}, rec{3, end, ""})
	tests := map[string]struct {
		damage func(t *testing.T, dir string)
		acked  int64
		want   string
	}{
		"nothing":                {func(*testing.T, string) {}, 1000, "hi\none\ntwo\n"},
		"checkpoint, all kept":   {flip(checkpointFile), 0, "hi\none\ntwo\n"},
		"log, all kept":          {flip(logName), 0, "hi\none\ntwo\n"},
		"checkpoint, trimmed":    {flip(checkpointFile), 17, "hi\n" + yellow + trimmed(17) + reset + "\ntwo\n"},
		"outline's end is torn":  {tear, 1000, "hi\none\ntwo\n"},
		"checkpoint of nonsense": {func(t *testing.T, dir string) { write(t, dir, checkpointFile, []byte("nonsense")) }, 0, "hi\none\ntwo\n"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Dir: t.TempDir(), Clock: quick{}}
			entries := []Entry{{Op: Text, Text: "hi"}, {Op: Include, Stage: "s"}, {Op: Close}}
			for i := range entries {
				entries[i].Key = fmt.Sprint(i)
			}
			f := &fakeSpools{data: map[string][]byte{"s": data}, acked: map[string]int64{}, calm: true, r: seeded()}
			for round := range 2 {
				tr, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if _, err := tr.Append(e); err != nil {
						t.Fatal(err)
					}
				}
				if err := tr.Render(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(tr.Reader(t.Context())); round == 1 && (err != nil || string(b) != tc.want) {
					t.Errorf("got %q, want %q (%v)", b, tc.want, err)
				}
				tr.Close()
				tc.damage(t, o.Dir)
				f.acked["s"] = tc.acked
			}
		})
	}
}

func flip(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		write(t, dir, name, b)
	}
}

func tear(t *testing.T, dir string) {
	b, err := os.ReadFile(filepath.Join(dir, outlineFile))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, outlineFile, append(b, "12345678 {\"op\":\"te"...))
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAppendIsIdempotentAndSafe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 2 {
		tr, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		added := 0
		for n := range 8 {
			wg.Go(func() {
				for k := range 50 {
					ok, err := tr.Append(Entry{Key: fmt.Sprint((n + k) % 60 % 55), Op: Text, Text: "x"})
					if err != nil {
						t.Error(err)
					}
					if ok {
						mu.Lock()
						added++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if want := 55 * (1 - round); added != want || !tr.Has("0") || tr.Has("55") {
			t.Errorf("round %d: added %d, want %d", round, added, want)
		}
		tr.Close()
	}
	for _, name := range []string{outlineFile, logName} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

func TestLineWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 2 {
		tr, err := Open(Options{Dir: dir, Secrets: []string{"two\nlines"}})
		if err != nil {
			t.Fatal(err)
		}
		w := tr.Lines("pull/")
		for _, s := range []string{"again\n", "again\nspl", "it\ntwo", "\nli", "nes\nlast"} {
			if n, err := io.WriteString(w, s); n != len(s) || err != nil {
				t.Fatal(n, err)
			}
		}
		if round == 1 {
			if _, err := tr.Append(Entry{Op: Close}); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Append(Entry{Op: Text}); !errors.Is(err, ErrClosed) {
				t.Errorf("error after Close = %v", err)
			}
			if err := tr.Render(t.Context(), &fakeSpools{}); err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(tr.Reader(t.Context()))
			if d := cmp.Diff("again\nagain\nsplit\n[MASKED]\nlast\n", string(b)); d != "" || err != nil {
				t.Error(d, err)
			}
		}
		tr.Close()
	}
}

// Services have streams of their own, and their lines are masked like others.
func TestStreamLines(t *testing.T) {
	t.Parallel()
	tr, err := Open(Options{Dir: t.TempDir(), Timestamps: true, Secrets: []string{"s3cret"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for _, write := range []struct {
		w    io.Writer
		text string
	}{
		{tr.Lines("a/"), "own\n"}, {tr.StreamLines("s0/", FirstService), "of 0: s3cret\n"}, {tr.StreamLines("s1/", FirstService+1), "of 1\n"}, {tr.Lines("b/"), "own\n"},
	} {
		if _, err := io.WriteString(write.w, write.text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Append(Entry{Op: Close}); err != nil {
		t.Fatal(err)
	}
	if err := tr.Render(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	log, err := io.ReadAll(tr.Reader(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(log)) {
		got = append(got, strings.TrimSpace(line[len("2006-01-02T15:04:05.000000Z "):]))
	}
	if diff := cmp.Diff([]string{"00O own", "0FO of 0: [MASKED]", "10O of 1", "00O own"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLineWriterIsBounded(t *testing.T) {
	t.Parallel()
	tr, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	w := tr.Lines("")
	block := bytes.Repeat([]byte("no end of this line "), 50<<10)
	for range 5 {
		if n, err := w.Write(block); n != len(block) || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := len(tr.outline.entries); n != maxLines/maxLine+1 {
		t.Errorf("%d entries", n)
	}
}
