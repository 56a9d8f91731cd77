package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
)

func noEnv(string) (string, bool) { return "", false }

func options() config.Options { return config.Options{Env: noEnv, NoSystemID: true} }

// golden compares got with a file below testdata, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files")
	os.Exit(m.Run())
}

// TestFiles loads every file of testdata and compares all that Load says with a golden file.
func TestFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(file, options())
			if bad := strings.HasSuffix(file, ".bad.toml"); bad != (err != nil) {
				t.Fatalf("Load: %v, bad file: %v", err, bad)
			}
			var b strings.Builder
			if err != nil {
				b.WriteString("error:\n" + err.Error() + "\n")
				golden(t, file+".golden", b.String())
				return
			}
			for _, w := range c.Warnings {
				if !strings.Contains(w.Message, "can be read by every user") { // depends on the checkout
					b.WriteString("warning: " + w.Error() + "\n")
				}
			}
			for _, r := range c.Runners {
				if r.Refused != nil {
					b.WriteString("refused " + r.Name + ":\n" + r.Refused.Error() + "\n")
				}
			}
			c.Warnings = nil
			text, err := json.MarshalIndent(c, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file+".golden", b.String()+string(text)+"\n")
		})
	}
}

func load(t *testing.T, text string, opts config.Options) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, opts)
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	_, err := config.Load(filepath.Join(t.TempDir(), "none.toml"), options())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want fs.ErrNotExist", err)
	}
}

func TestEnvironmentExpandsInURLAndToken(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Env = func(k string) (string, bool) {
		v, ok := map[string]string{"HOST": "gitlab.example.org", "TOKEN": "glrt-fromenvironment"}[k]
		return v, ok
	}
	c, err := load(t, "[[runners]]\nname = \"$HOST\"\nurl = \"https://$HOST/\"\ntoken = \"${TOKEN}\"\nexecutor = \"shell\"\n", opts)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Runners[0]
	if diff := cmp.Diff([]string{"$HOST", "https://gitlab.example.org/", "glrt-fromenvironment"}, []string{r.Name, r.URL, r.Token}); diff != "" {
		t.Error(diff)
	}
	if r.Refused != nil || len(c.Warnings) != 0 {
		t.Errorf("refused %v, warnings %v", r.Refused, c.Warnings)
	}
	c, err = load(t, "[[runners]]\nurl = \"https://x/\"\ntoken = \"$NOWHERE\"\nexecutor = \"shell\"\n", opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].Error(), "runners[0].token: uses $NOWHERE") || c.Runners[0].Refused == nil {
		t.Errorf("refused %v, warnings %v", c.Runners[0].Refused, c.Warnings)
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	text := "[[runners]]\nurl = \"https://x/\"\ntoken_file = \"secret\"\nexecutor = \"shell\"\n"
	for name, content := range map[string]string{path: text, filepath.Join(dir, "secret"): "glrt-abcdefghijkl\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load(path, options())
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Runners[0]; r.Token != "glrt-abcdefghijkl" || r.Refused != nil {
		t.Errorf("token %q, refused %v", r.Token, r.Refused)
	}
	if err := os.Remove(filepath.Join(dir, "secret")); err != nil {
		t.Fatal(err)
	}
	c, err = config.Load(path, options())
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Runners[0]; r.Refused == nil || !strings.Contains(r.Refused.Error(), "runners[0].token_file: open") {
		t.Errorf("refused %v", r.Refused)
	}
}

func TestExecutorsOfTheProgram(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Executors = []string{"shell"}
	c, err := load(t, `
[[runners]]
url = "https://x/"
token = "glrt-1"
executor = "docker"
[runners.docker]
image = "x"
[[runners]]
url = "https://x/"
token = "glrt-2"
executor = "shell"
`, opts)
	if err != nil {
		t.Fatal(err)
	}
	if active := c.Active(); len(active) != 1 || active[0].Token != "glrt-2" {
		t.Fatalf("active: %v", active)
	}
	if !strings.Contains(c.Refused().Error(), "config.toml:5: runners[0].executor: the docker executor is not part of this version") {
		t.Errorf("refused: %v", c.Refused())
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{
		"0": 0, "17": 17, "4b": 4, "1k": 1024, "1KB": 1024, "1kib": 1024, "2m": 2 << 20, "1.5G": 3 << 29, "1 g": 1 << 30, "1t": 1 << 40,
	} {
		if got, err := config.ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "m", "-1", "1x", "0x10", "1e3", "1kk", "NaN", "Inf", "9999999p", "1bb"} {
		if got, err := config.ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, got)
		}
	}
}

func TestDefaultPath(t *testing.T) {
	t.Parallel()
	if got := config.DefaultPath(0, "/root"); got != "/etc/gitlab-runner/config.toml" {
		t.Error(got)
	}
	if got := config.DefaultPath(1000, "/home/x"); got != "/home/x/.gitlab-runner/config.toml" {
		t.Error(got)
	}
	if got := config.DefaultPath(1000, ""); !filepath.IsAbs(got) {
		t.Error(got)
	}
}

func TestDurationsInNanoseconds(t *testing.T) {
	t.Parallel()
	c, err := load(t, "connection_max_age = 60000000000\n", options())
	if err != nil || *c.ConnectionMaxAge != time.Minute {
		t.Fatalf("%v, %v", c.ConnectionMaxAge, err)
	}
}
