package schema_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"gitlab.com/skerry/skerry/internal/config/schema"
)

type inner struct {
	Image   string            `toml:"image"`
	Labels  map[string]string `toml:"labels"`
	Volumes schema.StringList `toml:"volumes"`
}

type outer struct {
	Name    string        `toml:"name"`
	Planned int           `toml:"planned" state:"todo"`
	Old     bool          `toml:"old" state:"ignored"`
	Inner   *inner        `toml:"inner"`
	List    []inner       `toml:"list"`
	Any     schema.Opaque `toml:"any"`
	Skipped string        `toml:"-"`
}

func decode(t *testing.T, text string) (outer, *schema.Decoder) {
	t.Helper()
	var raw map[string]any
	if err := toml.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	doc, err := schema.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d := &schema.Decoder{File: "f", Doc: doc}
	var out outer
	d.Decode(raw, &out)
	d.Errors.ByLine()
	d.Warnings.ByLine()
	return out, d
}

func lines(ps schema.Problems) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Error())
	}
	return out
}

func TestDecodeSaysWhere(t *testing.T) {
	t.Parallel()
	out, d := decode(t, `NAME = "folded"
planned = 1
old = true
naem = 1
image = 2
any = [{ deep = { er = 1 } }]
"a b" = 1
list = [
  { image = "x" }, # one
  { labels = { "k" = 2 } },
]
[inner]
volumes = "one"
labels = { a = "b" }
`)
	if diff := cmp.Diff([]string{`f:10: list[1].labels.k: must be a string, is 2`}, lines(d.Errors)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"f:2: planned: is a key that Skerry does not implement yet: it has no effect",
		"f:4: naem: is unknown and has no effect; did you mean name?",
		"f:5: image: is unknown here and has no effect; did you mean inner.image?",
		`f:7: "a b": is unknown and has no effect: remove it or look for its right name`,
	}, lines(d.Warnings)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&inner{Labels: map[string]string{"a": "b"}, Volumes: schema.StringList{"one"}}, out.Inner); diff != "" {
		t.Error(diff)
	}
	if out.Name != "folded" || out.List[0].Image != "x" || out.Any == nil {
		t.Errorf("%+v", out)
	}
}

func TestExactKeyWinsOverFolded(t *testing.T) {
	t.Parallel()
	out, d := decode(t, "NAME = \"upper\"\nname = \"exact\"\nName = \"mixed\"\n")
	if out.Name != "exact" || len(d.Warnings) != 2 {
		t.Errorf("%q, %v", out.Name, d.Warnings)
	}
}

func TestLineOfUnknownPathIsThatOfItsTable(t *testing.T) {
	t.Parallel()
	doc, err := schema.Parse([]byte("# c\n\n[[a]]\n[[a]]\n[a.b]\nx = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"a[0]": 3, "a[1]": 4, "a[1].b": 5, "a[1].b.x": 6, "a[1].b.y": 5, "a[1].z": 4, "q": 0, "": 0} {
		if got := doc.Line(path); got != want {
			t.Errorf("Line(%q) = %d, want %d", path, got, want)
		}
	}
}

func TestWithoutKey(t *testing.T) {
	t.Parallel()
	doc, err := schema.Parse([]byte("a = 1\nb = [\n 1, # x\n 2,\n] # y\n\nc = 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, found := doc.WithoutKey("b")
	if diff := cmp.Diff("a = 1\n\nc = 2\n", string(text)); diff != "" || !found {
		t.Error(diff)
	}
	if _, found := doc.WithoutKey("d"); found {
		t.Error("found what is not there")
	}
}
