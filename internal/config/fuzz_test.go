package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gitlab.com/skerry/skerry/internal/config"
)

func seed(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(handwritten)
	f.Add("runners = [ { name = \"a\", token = \"glrt-a\" } ]\n")
	f.Add("[[runners]]\n[[runners]]\n[runners.cache]\nx.y = [1, {a = 2}, # c\n]\n")
	f.Add("runners.a = 1")
	f.Add("[[\"runners\"]]\r\ntoken = '''a'''\r\n")
}

// FuzzLoad feeds any bytes: no panic, and no problem without a file and a line that exists.
func FuzzLoad(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := config.NewDraft("config.toml", []byte(text), options())
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		for _, p := range d.Config().Warnings {
			if p.Line < 0 || p.File == "" || p.Key == "" || p.Message == "" {
				t.Errorf("%#v", p)
			}
		}
	})
}

// essence is what an edit of one runner must not change of another.
func essence(c *config.Config, without int) []config.Runner {
	var out []config.Runner
	for _, r := range c.Runners {
		if r.Index != without {
			out = append(out, *r)
		}
	}
	return out
}

func same() cmp.Options {
	return cmp.Options{
		cmpopts.IgnoreFields(config.Runner{}, "Index", "Line", "Refused"),
		cmpopts.IgnoreUnexported(config.Runner{}, config.Config{}),
		cmpopts.EquateNaNs(),
		cmpopts.EquateEmpty(),
	}
}

// FuzzEdit appends, removes and gives a new token in any valid file: every edit either is refused or
// does exactly what it says.
func FuzzEdit(f *testing.F) {
	seed(f)
	added := config.Runner{Name: "added \" \\\n", URL: "https://x/", Token: "glrt-added", Executor: "shell"}
	f.Fuzz(func(t *testing.T, text string) {
		base, err := config.NewDraft("config.toml", []byte(text), options())
		if err != nil {
			return
		}
		n := len(base.Config().Runners)
		fresh := func() *config.Draft {
			d, err := config.NewDraft("config.toml", []byte(text), options())
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		d := fresh()
		if d.Append(&added) == nil {
			if diff := cmp.Diff(essence(base.Config(), -1), essence(d.Config(), n), same()); diff != "" {
				t.Errorf("append: %s", diff)
			}
			if got := d.Config().Runners[n]; got.Name != added.Name || got.Token != added.Token {
				t.Errorf("append: %+v", got)
			}
		}
		for i := range n {
			d := fresh()
			if d.Remove(i) == nil {
				if diff := cmp.Diff(essence(base.Config(), i), essence(d.Config(), -1), same()); diff != "" {
					t.Errorf("remove %d: %s", i, diff)
				}
			}
			d = fresh()
			if d.SetToken(i, "glrt-new", time.Unix(1, 0), time.Unix(2, 0)) == nil {
				if diff := cmp.Diff(essence(base.Config(), i), essence(d.Config(), i), same()); diff != "" {
					t.Errorf("token %d: %s", i, diff)
				}
				if got := d.Config().Runners[i]; got.Token != "glrt-new" || got.TokenExpiresAt.Unix() != 2 {
					t.Errorf("token %d: %+v", i, got)
				}
			}
		}
	})
}
