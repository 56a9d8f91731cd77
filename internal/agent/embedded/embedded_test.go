package embedded

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

func TestFindOrder(t *testing.T) {
	t.Parallel()
	name := "skerry-agent-linux-" + runtime.GOARCH
	whole := fstest.MapFS{"bin/" + name: {Data: []byte("embedded")}}
	full, bare, named := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "mine")
	for path, text := range map[string]string{filepath.Join(full, "skerry-agent"): "beside", named: "named"} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, beside, named, want string
		fs                        fstest.MapFS
	}{
		{"embedded first", full, named, "the skerry executable", whole},
		{"then beside", full, named, filepath.Join(full, "skerry-agent"), fstest.MapFS{}},
		{"then named", bare, named, named, fstest.MapFS{}},
	} {
		a, err := find(c.fs, runtime.GOARCH, c.beside, c.named)
		if err != nil || a.Source != c.want {
			t.Errorf("%s: %+v, %v", c.name, a, err)
		}
	}
	if _, err := find(fstest.MapFS{}, "riscv64", full, named); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("another architecture: %v", err)
	}
}

func TestInstallOnce(t *testing.T) {
	t.Parallel()
	a, err := find(fstest.MapFS{"bin/skerry-agent-linux-amd64": {Data: []byte("#!/bin/sh\nexit 0\n")}}, "amd64", t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := a.Install(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	path, err := a.Install(dir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil || before.Mode().Perm() != 0o755 || path != filepath.Join(dir, "agents", a.SHA256[:12], "agent") {
		t.Fatal(path, before.Mode(), err)
	}
	if _, err := a.Install(dir); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Error("installed again", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	if err := os.Chmod(filepath.Dir(path), 0o700); err != nil { // as another umask leaves it
		t.Fatal(err)
	}
	if _, err := a.Install(dir); err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(filepath.Dir(path)); err != nil || i.Mode().Perm() != 0o755 {
		t.Errorf("other users than the runner's cannot start the agent: %v, %v", i.Mode(), err)
	}
	for _, mode := range []os.FileMode{0o555, 0o775} { // as somebody else has made it, whose it may be
		if err := os.Chmod(filepath.Dir(path), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Install(dir); err != nil {
			t.Fatal(err)
		}
		if i, err := os.Stat(filepath.Dir(path)); err != nil || i.Mode().Perm() != mode {
			t.Errorf("the mode %o, with which every user can start the agent, is now %v (%v)", mode, i.Mode(), err)
		}
	}
	if err := os.WriteFile(path, make([]byte, a.Size), 0o755); err != nil { // as a loss of power may leave it
		t.Fatal(err)
	}
	if _, err := a.Install(dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || b[0] == 0 {
		t.Errorf("a damaged agent was not installed again: %q, %v", b, err)
	}
	env := t.TempDir()
	for range 2 {
		if placed, err := Place(path, env); err != nil || placed != filepath.Join(env, "agent") {
			t.Fatal(placed, err)
		}
	}
}
