package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/daemon"
	"gitlab.com/skerry/skerry/internal/config"
)

// The states of a key in docs/configuration.md.
const (
	works   = "works"
	notYet  = "not yet"
	ignored = "ignored"
)

// key is one key of config.toml as package config knows it.
type key struct {
	path    string // "runners.cache.s3.BucketName"
	section string // "runners.cache.s3"
	name    string
	field   string // the last fields that lead to it, as Go code selects them: "Cache.MaxUploadedArchiveSize"
	state   string // of the tag
	typ     reflect.Type
	index   [][]int // fields from the root of Config or, below runners, of Runner
}

// keys lists every key by its path, from the same tags that the decoder reads.
func keys() map[string]key {
	all := map[string]key{}
	collect(all, reflect.TypeFor[config.Config](), "", "", "", nil)
	return all
}

func collect(all map[string]key, t reflect.Type, section, field, state string, index [][]int) {
	for f := range t.Fields() {
		name := f.Tag.Get("toml")
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		k := key{path: strings.TrimPrefix(section+"."+name, "."), section: section, name: name, state: f.Tag.Get("state"), typ: f.Type}
		if k.state == "" {
			k.state = state // a section's state is that of its keys
		}
		k.field = strings.TrimPrefix(field+"."+f.Name, ".")
		k.index = append(slices.Clip(index), f.Index)
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct || inner == reflect.TypeFor[time.Time]() {
			all[k.path] = k
			continue
		}
		if k.path == "runners" {
			collect(all, inner, k.path, "", "", nil)
			continue
		}
		collect(all, inner, k.path, f.Name, k.state, k.index)
	}
}

// row is one documented key.
type row struct{ standard, state, meaning string }

const configPage = "docs/configuration.md"

// documented reads the tables of docs/configuration.md. A table marked "keys: SECTION" describes the keys
// of that section; one with "keys" those of the whole file.
func documented(t *testing.T) map[string]row {
	t.Helper()
	page := read(t, configPage)
	rows := map[string]row{}
	for _, m := range regexp.MustCompile(`<!-- (keys:([a-z_. ]*)) -->`).FindAllStringSubmatch(page, -1) {
		section := strings.TrimSpace(m[2])
		for _, cells := range table(t, page, m[1]) {
			if len(cells) != 4 {
				t.Fatalf("%s: a row is not of the form | `key` | default | state | meaning |: %q", configPage, cells)
			}
			for _, name := range spans(cells[0]) {
				path := strings.TrimPrefix(section+"."+name, ".")
				if _, twice := rows[path]; twice {
					t.Errorf("%s names %s twice", configPage, path)
				}
				rows[path] = row{standard: cells[1], state: cells[2], meaning: cells[3]}
			}
		}
	}
	return rows
}

// beginList and endList enclose what this test writes into docs/configuration.md with -update.
const (
	beginList = "<!-- list: every other key; written by `go test ./test/docs -update` -->\n"
	endList   = "<!-- end -->\n"
)

// otherKeys is the list of the keys that no table describes, a line for each section and state.
func otherKeys(all map[string]key, rows map[string]row) string {
	type group struct{ section, state string }
	groups := map[group][]string{}
	for path, k := range all {
		if _, has := rows[path]; !has {
			g := group{k.section, k.state}
			groups[g] = append(groups[g], "`"+k.name+"`")
		}
	}
	var b strings.Builder
	order := slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return strings.Compare(a.section+"\x00"+a.state, b.section+"\x00"+b.state)
	})
	for _, g := range order {
		slices.Sort(groups[g])
		note := map[string]string{"todo": ", known and without effect so far", "ignored": ", ignored"}[g.state]
		fmt.Fprintf(&b, "- `[%s]`%s: %s\n", g.section, note, strings.Join(groups[g], " "))
	}
	return b.String()
}

func TestConfigurationNamesEveryKey(t *testing.T) {
	t.Parallel()
	all, rows := keys(), documented(t)
	for path := range rows {
		if _, ok := all[path]; !ok {
			t.Errorf("%s describes %s, which package config does not know", configPage, path)
		}
	}
	for path, k := range all {
		if _, ok := rows[path]; !ok && (k.section == "" || k.section == "runners") {
			t.Errorf("%s has no row for %s", configPage, path)
		}
	}
	page := read(t, configPage)
	before, rest, ok := strings.Cut(page, beginList)
	list, after, ended := strings.Cut(rest, endList)
	if !ok || !ended {
		t.Fatalf("%s has no %q with its end", configPage, strings.TrimSpace(beginList))
	}
	want := otherKeys(all, rows)
	if *update && list != want {
		if err := os.WriteFile(filepath.Join(root, configPage), []byte(before+beginList+want+endList+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if list != want {
		t.Errorf("%s: the list of other keys is not that of package config; run go test ./test/docs -update", configPage)
	}
}

// TestConfigurationStates compares each row's state with the key's tag and with whether the program
// looks at the key: internal/cli is where the configuration is turned into what the other parts do.
func TestConfigurationStates(t *testing.T) {
	t.Parallel()
	used := selectors(t, "internal/cli", "internal/cli/daemon", "internal/cli/program", "internal/cli/register")
	inside := map[string]string{ // what package config itself acts on: where
		"runners.token_file":     "Load reads the token from it",
		"check_interval":         "Config.Interval",
		"shutdown_timeout":       "Config.Stop",
		"runners.environment":    "Runner.Variables",
		"runners.docker":         "",
		"runners.nix.extra_conf": "Nix.ConfLines", "runners.nix.trusted_public_keys": "Nix.Caches", "runners.nix.protected.trusted_public_keys": "Nix.Caches",
		"runners.nix.substituters": "Nix.Caches", "runners.nix.protected.substituters": "Nix.Caches",
	}
	passedOn := map[string]string{ // what cli hands over and nobody acts on yet: the package to watch
		"runners.prepare_timeout": "internal/engine",
	}
	all := keys()
	for path, r := range documented(t) {
		k := all[path]
		switch {
		case r.meaning == "":
			t.Errorf("%s does not say what %s means", configPage, path)
		case k.state == "todo" && r.state != notYet, k.state == "ignored" && r.state != ignored:
			t.Errorf("%s says %q of %s, whose tag says %q", configPage, r.state, path, k.state)
		case k.state != "":
		case r.state == works && within(strings.ReplaceAll(k.section, ".", "/"), "runners/nix") && used[k.field[strings.LastIndex(k.field, ".")+1:]]: // cli has the section in hand
		case r.state == works && !used[k.field] && inside[path] == "":
			t.Errorf("%s says that %s works, but internal/cli does not look at it", configPage, path)
		case r.state == notYet && used[k.field] && passedOn[path] == "":
			t.Errorf("%s says that %s does not work yet, but internal/cli looks at it: is the page out of date?", configPage, path)
		case r.state == notYet && passedOn[path] != "" && selectors(t, passedOn[path])[k.field]:
			t.Errorf("%s says that %s does not work yet, but %s looks at it: is the page out of date?", configPage, path, passedOn[path])
		case r.state != works && r.state != notYet:
			t.Errorf("%s: the state of %s must be %q, %q or %q, is %q", configPage, path, works, notYet, ignored, r.state)
		}
	}
}

// TestConfigurationDefaults compares the defaults with those of an entry that sets nothing else.
func TestConfigurationDefaults(t *testing.T) {
	t.Parallel()
	c := load(t, "[[runners]]\nurl = \"https://gitlab.example.com\"\ntoken = \"glrt-t\"\nexecutor = \"shell\"\n")
	all := keys()
	for path, r := range documented(t) {
		k := all[path]
		v := reflect.ValueOf(c).Elem()
		if within(strings.ReplaceAll(path, ".", "/"), "runners") {
			v = reflect.ValueOf(c.Runners[0]).Elem()
		}
		want, ok := standard(v, k.index)
		switch path {
		case "runners.url", "runners.token", "runners.executor":
			continue // set above
		}
		if ok && !strings.Contains(r.standard, want) {
			t.Errorf("%s: the default of %s is %s, the page says %q", configPage, path, want, r.standard)
		}
	}
}

// standard is a value as the page writes it; ok is false for the zero value, which says nothing.
func standard(v reflect.Value, index [][]int) (text string, ok bool) {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return "", false
			}
			v = v.Elem()
		}
		v = v.FieldByIndex(i)
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.IsZero() {
		return "", false
	}
	if d, isDuration := v.Interface().(time.Duration); isDuration {
		return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m"), true
	}
	return fmt.Sprint(v.Interface()), true
}

// nixKey is a secret key of the form that Nix writes. It signs nothing that anybody trusts.
const nixKey = "cache.example.com-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA=="

// load reads a configuration as run does, with every variable that it may name set, and the files that it may name there.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	for name, text := range map[string]string{path: text, filepath.Join(filepath.Dir(path), "cache.example.com-1.secret"): nixKey} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(path, config.Options{
		Env:       func(string) (string, bool) { return "glrt-0123456789abcdefghij", true },
		Executors: daemon.Executors(), NoSystemID: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestExamplesLoad reads every TOML block of every page: nothing in them is wrong, odd or without effect.
func TestExamplesLoad(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?ms)^```toml\n(.*?)^```")
	found := map[string]int{}
	for _, page := range pages(t) {
		for _, m := range block.FindAllStringSubmatch(read(t, page), -1) {
			found[page]++
			c := load(t, m[1])
			for _, w := range c.Warnings {
				t.Errorf("%s: %v", page, w)
			}
			if err := c.Refused(); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if found["README.md"] == 0 || found[configPage] == 0 {
		t.Errorf("README.md and %s should show a configuration that works", configPage)
	}
}
