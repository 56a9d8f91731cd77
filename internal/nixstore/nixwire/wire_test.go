package nixwire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

const (
	helloPath = nixwire.StoreDir + "/0123456789abcdfghijklmnpqrsvwxyz-hello"
	drvPath   = nixwire.StoreDir + "/00000000000000000000000000000000-hello.drv"
)

func TestStorePaths(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0", 32)
	for path, want := range map[string]bool{
		helloPath:                                             true,
		drvPath:                                               true,
		"/nix/store/" + hash + "-a+b-._?=Z9":                  true,
		"/nix/store/" + hash + "-.profile":                    true,
		"/nix/store/" + hash + "-":                            false,
		"/nix/store/" + hash + "-.":                           false,
		"/nix/store/" + hash + "-..":                          false,
		"/nix/store/" + hash + "-../x":                        false,
		"/nix/store/" + hash + "-a/b":                         false,
		"/nix/store/" + hash + "-a\x00":                       false,
		"/nix/store/" + hash + "-a b":                         false,
		"/nix/store/" + strings.Repeat("e", 32) + "-a":        false,
		"/nix/store/" + hash[:31] + "-a":                      false,
		"/nix/store/" + hash + "a":                            false,
		"/nix/store/../" + hash + "-a":                        false,
		"/nix/storex/" + hash + "-a":                          false,
		"":                                                    false,
		"/nix/store/" + hash + "-" + strings.Repeat("a", 211): true,
		"/nix/store/" + hash + "-" + strings.Repeat("a", 212): false,
	} {
		if _, err := nixwire.ParseStorePath(path); (err == nil) != want {
			t.Errorf("%q: %v", path, err)
		}
	}
	if p, built, err := nixwire.DerivedPath(drvPath + "!out,dev"); err != nil || p != drvPath || !built {
		t.Error(p, built, err)
	}
}

// TestShapes writes and reads messages of shapes, and copies them.
func TestShapes(t *testing.T) {
	t.Parallel()
	shape := nixwire.Shape{
		{Kind: nixwire.Int},
		{Kind: nixwire.List, Of: nixwire.Shape{{Kind: nixwire.Path}, {Kind: nixwire.Str, Max: 9}}},
		{Kind: nixwire.Opt, Of: nixwire.Shape{{Kind: nixwire.OptPath}}},
		{Kind: nixwire.Choice, Of: nixwire.Shape{{Kind: nixwire.Int}}},
		{Kind: nixwire.Int, Since: 37},
		{Kind: nixwire.Int, With: "x"},
		{Kind: nixwire.Int, Without: "x"},
	}
	tokens := []nixwire.Token{
		{Int: 7}, {Kind: nixwire.List, Int: 1}, {Kind: nixwire.Path, Str: helloPath}, {Kind: nixwire.Str, Str: "123456789"},
		{Kind: nixwire.Opt, Int: 1}, {Kind: nixwire.OptPath}, {Kind: nixwire.Choice, Int: 1}, {Int: 8},
	}
	var b, copied bytes.Buffer
	w := nixwire.NewWriter(&b, 64)
	nixwire.Write(w, tokens)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	raw := b.Bytes()
	v := nixwire.Version{Number: 1<<8 | 36, Features: []string{"x"}}
	for name, src := range map[string]io.Reader{"whole": bytes.NewReader(raw), "bytes": iotest.OneByteReader(bytes.NewReader(raw))} {
		got, err := nixwire.Read(nixwire.NewReader(src, 64), v, shape, &nixwire.Limit{Left: 1 << 20})
		if err != nil {
			t.Fatal(name, err)
		}
		if d := cmp.Diff(tokens, got); d != "" {
			t.Error(name, d)
		}
	}
	w = nixwire.NewWriter(&copied, 64)
	if err := nixwire.Copy(w, nixwire.NewReader(bytes.NewReader(raw), 64), v, shape, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil || !bytes.Equal(copied.Bytes(), raw) {
		t.Error(err, copied.Bytes())
	}
	for n := range len(raw) {
		if _, err := nixwire.Read(nixwire.NewReader(bytes.NewReader(raw[:n]), 64), v, shape, &nixwire.Limit{Left: 1 << 20}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// TestBounds sends what is too large and what is not allowed.
func TestBounds(t *testing.T) {
	t.Parallel()
	number := func(n ...uint64) string {
		var b []byte
		for _, n := range n {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		return string(b)
	}
	paths := nixwire.Shape{{Kind: nixwire.List, Max: 3, Of: nixwire.Shape{{Kind: nixwire.Path}}}}
	for name, c := range map[string]struct {
		shape nixwire.Shape
		raw   string
		want  string
	}{
		"string":  {nixwire.Shape{{Kind: nixwire.Str, Max: 8}}, number(9) + "123456789", "9 bytes"},
		"huge":    {nixwire.Shape{{Kind: nixwire.Str, Max: 8}}, number(1 << 63), "at most 8"},
		"padding": {nixwire.Shape{{Kind: nixwire.Str, Max: 8}}, number(1) + "aaaaaaaa", "padding"},
		"list":    {paths, number(4), "4 elements"},
		"path":    {paths, number(1, 3) + "/et\x00\x00\x00\x00\x00", "not a path"},
		"option":  {nixwire.Shape{{Kind: nixwire.Opt}}, number(2), "0 or 1"},
		"memory":  {nixwire.Shape{{Kind: nixwire.List, Of: nixwire.Shape{{Kind: nixwire.Int}}}}, number(1<<40) + strings.Repeat(number(1), 100), "more bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := nixwire.Read(nixwire.NewReader(strings.NewReader(c.raw), 64), nixwire.Version{}, c.shape, &nixwire.Limit{Left: 1000})
			var bad *nixwire.MalformedError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}

// TestMessages writes and reads what comes between request and answer.
func TestMessages(t *testing.T) {
	t.Parallel()
	fields := []nixwire.Value{{Int: 3}, {IsString: true, Str: "four"}}
	for _, m := range []nixwire.Message{
		{Kind: nixwire.Last},
		{Kind: nixwire.Next, Text: "line\n"},
		{Kind: nixwire.Failure, Text: "no", Level: 1, Traces: []string{"while", "when"}},
		{Kind: nixwire.StartActivity, Activity: 1, Level: 2, Type: nixwire.ActBuild, Text: "building", Fields: fields, Parent: 9},
		{Kind: nixwire.StopActivity, Activity: 1},
		{Kind: nixwire.Result, Activity: 1, Type: 105, Fields: fields},
	} {
		var b bytes.Buffer
		w := nixwire.NewWriter(&b, 4096)
		m.Write(w)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, err := nixwire.ReadMessage(nixwire.NewReader(&b, 64))
		if d := cmp.Diff(m, got); err != nil || d != "" {
			t.Error(err, d)
		}
	}
	for _, kind := range []uint64{nixwire.ReadData, nixwire.WriteData, 0, 1} {
		raw := binary.LittleEndian.AppendUint64(nil, kind)
		if _, err := nixwire.ReadMessage(nixwire.NewReader(bytes.NewReader(raw), 64)); err == nil {
			t.Errorf("%#x was taken", kind)
		}
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := nixwire.NewWriter(&b, 64)
	f := nixwire.NewFrameWriter(w)
	text := strings.Repeat("abcdefgh", 100)
	for _, p := range []string{text[:1], text[1:300], "", text[300:]} {
		if _, err := io.WriteString(f, p); err != nil {
			t.Fatal(err)
		}
	}
	f.End()
	w.Uint64(99)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r := nixwire.NewReader(&b, 64)
	got, err := io.ReadAll(nixwire.NewFrames(r))
	if err != nil || string(got) != text {
		t.Error(err, len(got))
	}
	if n, err := r.Uint64(); n != 99 || err != nil {
		t.Error("what follows the stream:", n, err)
	}
}
