package collect

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// TestArchivesFail tells what is wrong with a path from a program that came to harm, after which the reader must not think that
// it has been told all.
func TestArchivesFail(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	const path = "/nix/store/00000000000000000000000000000000-p"
	for name, c := range map[string]struct {
		asked, script string
		said          string
		fails         bool
	}{
		"damaged":  {path, "echo half; echo 'no such file' >&2; exit 1", "no such file", false},
		"killed":   {path, "echo half; kill -KILL $$", "", true},
		"no path":  {"/etc/passwd", "exit 0", "is no store path", false},
		"all well": {path, "echo whole", "", false},
	} {
		for _, program := range []string{"nix-daemon", "nix-store"} {
			if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil { //nolint:gosec // a program
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		err := Archives(t.Context(), volumes.Layout{Root: t.TempDir()}, strings.NewReader(c.asked+"\n"), &out)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
		r := nixwire.NewReader(&out, 4096)
		if err := nixwire.NewFrames(r).Drain(); errors.Is(err, io.ErrUnexpectedEOF) != c.fails {
			t.Errorf("%s: the archive: %v", name, err)
		}
		if c.fails {
			continue
		}
		if said, err := r.String(4096); err != nil || !strings.Contains(said, c.said) || (said == "") != (c.said == "") {
			t.Errorf("%s: it says %q, %v", name, said, err)
		}
	}
}
