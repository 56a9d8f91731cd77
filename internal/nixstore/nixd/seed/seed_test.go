package seed

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := dir+"/from", dir+"/to"
	for _, err := range []error{
		os.MkdirAll(from+"/sub/empty", 0o755), os.WriteFile(from+"/sub/program", []byte("p"), 0o700), //nolint:gosec // a program
		os.WriteFile(from+"/text", []byte("t"), 0o600), os.Link(from+"/text", from+"/sub/same"), os.Symlink("../text", from+"/sub/link"),
		os.MkdirAll(to, 0o500), // of one that was killed
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := copier{links: map[volumes.Inode]string{}}
	if err := c.copy(from, to); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := filepath.WalkDir(to, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		got[strings.TrimPrefix(p, to)] = i.Mode().String()
		if i.ModTime().Unix() != 1 {
			t.Errorf("%s is of %v", p, i.ModTime())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{
		"": "dr-xr-xr-x", "/sub": "dr-xr-xr-x", "/sub/empty": "dr-xr-xr-x", "/sub/program": "-r-xr-xr-x", "/text": "-r--r--r--",
		"/sub/same": "-r--r--r--", "/sub/link": "Lrwxrwxrwx",
	}, got); d != "" {
		t.Error(d)
	}
	one, err := os.Stat(to + "/text")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := os.Stat(to + "/sub/same"); err != nil || !os.SameFile(one, other) {
		t.Error("hard links became copies", err)
	}
	if err := volumes.RemoveAll(to); err != nil {
		t.Error(err)
	}
}

// The launcher is run with a loader that prints what it is given.
func TestLauncher(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(top+"/bin", 0o755), os.MkdirAll(top+"/lib", 0o755), os.MkdirAll(top+"/etc/ssl/certs", 0o755),
		os.WriteFile(top+"/bin/nix", []byte(launch("ld.so")), 0o755),                                              //nolint:gosec // a program
		os.WriteFile(top+"/lib/ld.so", []byte("#!/bin/sh\necho \"$@\" $NIX_BIN_DIR $NIX_SSL_CERT_FILE\n"), 0o755), //nolint:gosec // a program
		os.Symlink("nix", top+"/bin/nix-build"), os.Symlink(top+"/bin/nix-build", top+"/nix-build"), os.Symlink("bin/nix", top+"/other"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ command, name string }{
		{top + "/bin/nix", "nix"}, {top + "/bin/nix-build", "nix-build"}, {top + "/nix-build", "nix-build"}, {top + "/other", "nix"},
		{"./bin/nix-build", "nix-build"}, {"bin/../bin/nix", "nix"},
	} {
		c := exec.CommandContext(t.Context(), test.command, "a b", "c")
		c.Dir, c.Env = top, []string{"PATH=" + os.Getenv("PATH")}
		out, err := c.CombinedOutput()
		want := "--inhibit-cache --library-path " + top + "/lib --argv0 " + test.name + " " + top + "/libexec/nix a b c " + top + "/bin\n"
		if err != nil || string(out) != want {
			t.Errorf("%s: %v\n%s\nwant %s", test.command, err, out, want)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{"nix-store (Nix) 2.26.3\n": "2.26.3", "nix-store (Lix, like Nix) 2.91.1": "2.91.1", "": ""} {
		if got := version(said); got != want {
			t.Errorf("%q: %q", said, got)
		}
	}
}
