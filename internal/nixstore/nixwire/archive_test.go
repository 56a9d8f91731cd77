package nixwire_test

import (
	"bytes"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// nar makes an archive of words; a word that begins with "#" is contents.
func nar(words ...string) []byte {
	var b bytes.Buffer
	w := nixwire.NewWriter(&b, 4096)
	for _, s := range append([]string{"nix-archive-1"}, words...) {
		w.String(strings.TrimPrefix(s, "#"))
	}
	_ = w.Flush() // to memory
	return b.Bytes()
}

func file(contents string) []string {
	return []string{"(", "type", "regular", "contents", "#" + contents, ")"}
}

func dir(entries ...[]string) []string {
	list := []string{"(", "type", "directory"}
	for _, e := range entries {
		list = append(list, "entry", "(", "name", e[0], "node")
		list = append(append(list, e[1:]...), ")")
	}
	return append(list, ")")
}

func entry(name string, node []string) []string { return append([]string{name}, node...) }

func link(target string) []string { return []string{"(", "type", "symlink", "target", target, ")"} }

func TestArchive(t *testing.T) {
	t.Parallel()
	deep := file("x")
	for range 257 {
		deep = dir(entry("d", deep))
	}
	for name, c := range map[string]struct {
		words []string
		ok    bool
	}{
		"file":         {file(strings.Repeat("contents", 1000) + "x"), true},
		"empty":        {file(""), true},
		"executable":   {[]string{"(", "type", "regular", "executable", "", "contents", "#abc", ")"}, true},
		"link":         {link("../target"), true},
		"directory":    {dir(entry("a", file("1")), entry("b", dir(entry("c", link("x")), entry("d", dir()))), entry("c", file("2"))), true},
		"nothing":      {dir(), true},
		"order":        {dir(entry("b", file("1")), entry("a", file("2"))), false},
		"twice":        {dir(entry("a", file("1")), entry("a", file("2"))), false},
		"parent":       {dir(entry("..", file("1"))), false},
		"slash":        {dir(entry("a/b", file("1"))), false},
		"zero":         {dir(entry("a\x00", file("1"))), false},
		"unnamed":      {dir(entry("", file("1"))), false},
		"long name":    {dir(entry(strings.Repeat("a", 256), file("1"))), false},
		"long target":  {link(strings.Repeat("a", 4096)), false},
		"no target":    {link(""), false},
		"deep":         {deep, false},
		"type":         {[]string{"(", "type", "socket", ")"}, false},
		"no contents":  {[]string{"(", "type", "regular", ")"}, false},
		"word":         {[]string{"[", "type", "regular", "contents", "#", ")"}, false},
		"long word":    {[]string{strings.Repeat("(", 100)}, false},
		"executable 1": {[]string{"(", "type", "regular", "executable", "1", "contents", "#abc", ")"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := nar(c.words...)
			for _, step := range []int{len(raw), 1, 7, 8, 13} {
				var a nixwire.Archive
				n, err := scan(&a, append(raw[:len(raw):len(raw)], "behind"...), step)
				if c.ok && (err != nil || n != len(raw) || !a.Done() || a.Size() != uint64(len(raw))) {
					t.Errorf("by %d: %d of %d bytes, done %v, %v", step, n, len(raw), a.Done(), err)
				}
				if !c.ok && err == nil {
					t.Errorf("by %d: it was taken", step)
				}
			}
		})
	}
}

// scan gives a the bytes of raw, step at a time, and returns how many it took.
func scan(a *nixwire.Archive, raw []byte, step int) (n int, err error) {
	for n < len(raw) && !a.Done() {
		used, err := a.Scan(raw[n:min(n+step, len(raw))])
		n += used
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func FuzzArchive(f *testing.F) {
	f.Add(nar(file("abc")...), 3)
	f.Add(nar(dir(entry("a", file("1")), entry("b", dir(entry("c", link("x")))))...), 8)
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255}, 1)
	f.Fuzz(func(t *testing.T, raw []byte, step int) {
		var whole, parts nixwire.Archive
		n, err := scan(&whole, raw, len(raw)+1)
		m, err2 := scan(&parts, raw, min(max(step, 1), 100))
		if (err == nil) != (err2 == nil) || err == nil && n != m || whole.Done() && whole.Size() != uint64(n) { //nolint:gosec // not negative
			t.Errorf("whole: %d, %v; in parts: %d, %v", n, err, m, err2)
		}
	})
}

// FuzzOperations reads requests and answers of every operation from anything.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0}, uint64(31), byte(38), true)
	f.Fuzz(func(t *testing.T, raw []byte, op uint64, minor byte, features bool) {
		o, known := nixwire.Lookup(nixwire.Op(op % 64))
		if !known {
			return
		}
		v := nixwire.Version{Number: 1<<8 | uint16(minor)}
		if features {
			v.Features = nixwire.KnownFeatures([]string{nixwire.FeatureDeadSpecificReferers, nixwire.FeatureRealisationWithPath})
		}
		for _, shape := range []nixwire.Shape{o.Request, o.Answer} {
			tokens, err := nixwire.Read(nixwire.NewReader(bytes.NewReader(raw), 64), v, shape, &nixwire.Limit{Left: 1 << 20})
			if err != nil {
				continue
			}
			var b bytes.Buffer
			w := nixwire.NewWriter(&b, 64)
			nixwire.Write(w, tokens)
			if err := w.Flush(); err != nil || !bytes.HasPrefix(raw, b.Bytes()) {
				t.Errorf("%s: what was read is written otherwise: %v", o.Name, err)
			}
		}
		_, _ = nixwire.ReadMessage(nixwire.NewReader(bytes.NewReader(raw), 64))
	})
}
