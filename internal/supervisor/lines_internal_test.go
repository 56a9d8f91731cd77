package supervisor

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxLine)
	for name, c := range map[string]struct {
		in   []string
		want string
	}{
		"lines":            {[]string{"a\nb\n"}, "p | a\np | b\n"},
		"parts":            {[]string{"a", "b", "\nc\n"}, "p | ab\np | c\n"},
		"no end":           {[]string{"a\nb"}, "p | a\np | b\n"},
		"empty lines":      {[]string{"\n\n"}, "p | \np | \n"},
		"nothing":          {[]string{""}, ""},
		"carriage returns": {[]string{"a\r\nb\rc\n"}, "p | a\np | b\\x0dc\n"},
		"control":          {[]string{"\x1b[31mred\x00\tand\x7f\n"}, "p | \\x1b[31mred\\x00\tand\\x7f\n"},
		"control of two":   {[]string{"\u009b1m\n"}, "p | \\xc2\\x9b1m\n"},
		"text":             {[]string{"Žluťoučký\n"}, "p | Žluťoučký\n"},
		"text in parts":    {[]string{"\xc5", "\xbd\n"}, "p | Ž\n"},
		"no text":          {[]string{"\xff\xfe\n"}, "p | \\xff\\xfe\n"},
		"as long as can":   {[]string{long + "\n"}, "p | " + long + "\n"},
		"longer":           {[]string{long + "b\n"}, "p | " + long + "\np | b\n"},
		"longer in parts":  {[]string{long, long, "b\n"}, "p | " + long + "\np | " + long + "\np | b\n"},
		"cut in character": {[]string{long[1:] + "Ž\n"}, "p | " + long[1:] + "\np | Ž\n"},
		"long and no text": {[]string{strings.Repeat("\x80", maxLine+1)}, "p | " + strings.Repeat(`\x80`, maxLine) + "\np | \\x80\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			l := lines{prefix: "p | ", log: NewLog(&out)}
			for _, part := range c.in {
				if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
					t.Error(n, err)
				}
			}
			l.flush()
			if d := cmp.Diff(c.want, out.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\xc5"), []byte("\xbd\x1b\r\n"))
	f.Add(bytes.Repeat([]byte("\xc5\xbd"), maxLine), []byte("x"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var out bytes.Buffer
		l := lines{prefix: "p | ", log: NewLog(&out)}
		for _, part := range [][]byte{a, b} {
			_, _ = l.Write(part)
			if len(l.part) > maxLine {
				t.Fatal("it gathers without bound")
			}
		}
		l.flush()
		all := append(append([]byte(nil), a...), b...)
		plain := utf8.Valid(all) && bytes.IndexFunc(all, func(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }) < 0
		var text []byte
		for line := range bytes.Lines(out.Bytes()) {
			rest, ok := bytes.CutPrefix(line, []byte("p | "))
			if !ok || rest[len(rest)-1] != '\n' || bytes.IndexFunc(rest[:len(rest)-1], func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) >= 0 {
				t.Fatalf("line %q", line)
			}
			text = append(text, rest[:len(rest)-1]...)
		}
		if want := bytes.ReplaceAll(all, []byte("\n"), nil); plain && !bytes.Equal(text, want) {
			t.Fatalf("%q became %q", want, text)
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := Backoff{First: 1 * time.Second, Most: 5 * time.Second, Settled: time.Minute}
	var got []time.Duration
	for _, lived := range []time.Duration{0, 0, 0, 0, 2 * time.Minute, 0} {
		got = append(got, b.after(lived))
	}
	if d := cmp.Diff([]time.Duration{1e9, 2e9, 4e9, 5e9, 1e9, 2e9}, got); d != "" {
		t.Error(d)
	}
}
