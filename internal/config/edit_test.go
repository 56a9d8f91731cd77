package config_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
)

const handwritten = `# Head of the file.
concurrent = 2 # two

# First runner.
[[runners]]   # yes
	name = "one"
	token="glrt-one"	# secret
	url = 'https://x/' 
	executor = "shell"
	environment = [
	  "A=b", # inside
	  # alone
	]
	# after the last key

# Elsewhere.
[session_server]
session_timeout = 5

# Belongs to one.
[runners.cache]
Path = """
many
lines"""

# [[runners]] commented out
#   name = "old"

# Second.
# Two lines.
[[runners]]
name = "two"
url = "https://x/"
token = "glrt-two"
token_expires_at = 2026-01-01T00:00:00Z # soon
executor = "shell"
# tail
`

func draft(t *testing.T, text string) *config.Draft {
	t.Helper()
	d, err := config.NewDraft("config.toml", []byte(text), options())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestRemoveKeepsTheRest(t *testing.T) {
	t.Parallel()
	for index, name := range []string{"testdata/remove-one.golden", "testdata/remove-two.golden"} {
		d := draft(t, handwritten)
		if err := d.Remove(index); err != nil {
			t.Fatal(err)
		}
		golden(t, name, string(d.Text()))
	}
	d := draft(t, handwritten)
	if err := d.Remove(0, 1); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/remove-both.golden", string(d.Text()))
}

func TestSetTokenChangesNothingElse(t *testing.T) {
	t.Parallel()
	d := draft(t, handwritten)
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)
	for i := range 2 {
		if err := d.SetToken(i, fmt.Sprintf("glrt-new%d", i), at, at.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "testdata/set-token.golden", string(d.Text()))
	r := d.Config().Runners[1]
	if r.Token != "glrt-new1" || !r.TokenExpiresAt.Equal(time.Date(2026, 2, 3, 5, 5, 6, 0, time.UTC)) {
		t.Errorf("%+v", r)
	}
}

// TestEditsKeepLineEnds edits a file that was written with CRLF.
func TestEditsKeepLineEnds(t *testing.T) {
	t.Parallel()
	d := draft(t, strings.ReplaceAll(handwritten, "\n", "\r\n"))
	if err := d.Append(&config.Runner{Name: "three", URL: "https://y/", Token: "glrt-three", Executor: "shell"}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := d.SetToken(i, fmt.Sprintf("glrt-new%d", i), time.Unix(1e9, 0), time.Unix(2e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	text := string(d.Text())
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
		t.Errorf("line ends are mixed: %q", text)
	}
}

// TestEditsKeepTheByteOrderMark edits what an editor on Windows wrote.
func TestEditsKeepTheByteOrderMark(t *testing.T) {
	t.Parallel()
	d := draft(t, "\ufeff# head\n[[runners]]\ntoken = \"glrt-one\"\n")
	if err := d.SetToken(0, "glrt-two", time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := d.Append(&config.Runner{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := d.CanRemove(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(0); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("\ufeff# head\n\n[[runners]]\n  name = \"b\"\n", string(d.Text())); diff != "" {
		t.Error(diff)
	}
}

// TestDatesAsStrings is what a file holds that a program took through JSON.
func TestDatesAsStrings(t *testing.T) {
	t.Parallel()
	d := draft(t, `[[runners]]
token = "glrt-one"
token_obtained_at = "2026-11-25T23:44:00+00:00"
token_expires_at = "0001-01-01T00:00:00Z"
`)
	r := d.Config().Runners[0]
	if want := time.Date(2026, 11, 25, 23, 44, 0, 0, time.UTC); !r.TokenObtainedAt.Equal(want) || !r.TokenExpiresAt.IsZero() {
		t.Errorf("read as %v and %v", r.TokenObtainedAt, r.TokenExpiresAt)
	}
	if err := d.SetToken(0, "glrt-two", time.Unix(0, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	const want = "[[runners]]\ntoken = \"glrt-two\"\ntoken_obtained_at = 1970-01-01T00:00:00Z\ntoken_expires_at = 1970-01-01T00:00:01Z\n"
	if diff := cmp.Diff(want, string(d.Text())); diff != "" {
		t.Error(diff)
	}
}

func TestSetTokenRefusesForeignTokens(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`token = "$T"`, `token_file = "/x"`, ``} {
		d := draft(t, "[[runners]]\nname = \"a\"\n"+line+"\n")
		if err := d.SetToken(0, "glrt-x", time.Now(), time.Time{}); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
}

func TestInlineRunners(t *testing.T) {
	t.Parallel()
	const text = "# top\nrunners = [ { name = \"a\", token = \"glrt-a\", url = \"https://x\" } ] # x\nconcurrent = 3\n[session_server]\nsession_timeout = 1\n"
	d := draft(t, text)
	if err := d.SetToken(0, "glrt-b", time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := d.Append(&config.Runner{Name: "b", Token: "glrt-c"}); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/inline.golden", string(d.Text()))
	d = draft(t, "runners = []\nconcurrent = 3")
	if err := d.Append(&config.Runner{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("concurrent = 3\n\n[[runners]]\n  name = \"b\"\n", string(d.Text())); diff != "" {
		t.Error(diff)
	}
}

func TestInlineRunnersKeepComments(t *testing.T) {
	t.Parallel()
	d := draft(t, `# top
runners = [ # the list
  # about a
  # and more
  { name = "a", token = "glrt-a", url = "https://x" }, # behind a
  # about b
  { name = "b", token = "glrt-b", url = "https://x" } # behind b
  # last
] # end
concurrent = 2 # two
`)
	if err := d.Append(&config.Runner{Name: "c"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(1); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/inline-comments.golden", string(d.Text()))
}

func TestAppendToHandwritten(t *testing.T) {
	t.Parallel()
	yes := true
	d := draft(t, handwritten)
	err := d.Append(&config.Runner{
		Name: "three \"quoted\" \\ \x01\n", URL: "https://y/", Token: "glrt-three", Executor: "docker",
		Environment: []string{"A=b", "C=d"}, FeatureFlags: map[string]bool{"FF_X": true},
		Docker: &config.Docker{
			Image: "alpine", PullPolicy: config.StringList{"always"}, ServicesPrivileged: &yes,
			Services: []config.Service{{Name: "db", Command: []string{"a"}}},
			Sysctls:  map[string]string{"net.core.x": "1"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := strings.CutPrefix(string(d.Text()), handwritten)
	if !ok {
		t.Error("what was there has changed")
	}
	golden(t, "testdata/append.golden", got)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func appendOne(ctx context.Context, path, name string) error {
	return config.Edit(ctx, path, options(), func(d *config.Draft) error {
		return d.Append(&config.Runner{Name: name, URL: "https://x/", Token: "glrt-" + name, Executor: "shell"})
	})
}

func TestEditModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fresh := filepath.Join(dir, "new", "config.toml")
	if err := appendOne(t.Context(), fresh, "a"); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "old.toml")
	write(t, old, "concurrent = 2\n", 0o640)
	open := filepath.Join(dir, "open.toml")
	write(t, open, "concurrent = 2\n", 0o644)
	if err := appendOne(t.Context(), open, "d"); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(old, 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link.toml")
	if err := os.Symlink("old.toml", link); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(t.Context(), link, "b"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v %v", info, err)
	}
	dangling := filepath.Join(dir, "dangling.toml")
	if err := os.Symlink(filepath.Join(dir, "later.toml"), dangling); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(t.Context(), dangling, "c"); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{fresh: 0o600, old: 0o640, open: 0o600, filepath.Join(dir, "later.toml"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), mode)
		}
	}
	if os.Getuid() == 0 {
		if uid, gid := owner(t, old); uid != 1234 || gid != 2345 {
			t.Errorf("owner is %d:%d now", uid, gid)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 6 {
		t.Errorf("leftovers: %v, %v", entries, err)
	}
}

func TestEditThatFailsLeavesEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	write(t, path, handwritten, 0o600)
	boom := errors.New("boom")
	err := config.Edit(t.Context(), path, options(), func(d *config.Draft) error {
		if err := d.Remove(0); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "bad.toml"), "= 1", 0o600)
	if err := appendOne(t.Context(), filepath.Join(dir, "bad.toml"), "x"); err == nil {
		t.Error("an invalid file was edited")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != handwritten {
		t.Errorf("the file changed: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("leftovers: %v, %v", entries, err)
	}
}

func TestConcurrentEditsLoseNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.toml")
	const n = 12
	var group sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		group.Go(func() { errs[i] = appendOne(t.Context(), path, fmt.Sprintf("r%d", i)) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, options())
	if err != nil || len(c.Runners) != n {
		t.Fatalf("%d runners, %v", len(c.Runners), err)
	}
}

func TestEditWaitsForTheLockOnlyAsLongAsItMay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.toml")
	err := config.Edit(t.Context(), path, options(), func(*config.Draft) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := appendOne(ctx, path, "second"); !errors.Is(err, context.Canceled) {
			t.Errorf("second edit: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("an edit that changed nothing made a file")
	}
}
