package volumes_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// TestInitialize has the database made where there is none, or one that somebody was killed in the middle of.
func TestInitialize(t *testing.T) {
	t.Parallel()
	some, empty := "10\n", ""
	for name, c := range map[string]struct {
		schema *string
		made   bool
	}{
		"none": {nil, true}, "begun": {&empty, true}, "there": {&some, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := volumes.Layout{Root: t.TempDir()}
			if err := l.Make(); err != nil {
				t.Fatal(err)
			}
			schema := l.State() + "/db/schema"
			if c.schema != nil {
				if err := os.WriteFile(schema, []byte(*c.schema), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			said, dir := filepath.Join(t.TempDir(), "said"), t.TempDir()
			script := "#!/bin/sh\nif [ -e " + schema + " ]; then exit 1; fi\necho \"$@\" >> " + said + "\necho 10 > " + schema + "\n"
			syscall.ForkLock.RLock() // a process that another test starts meanwhile would have the file open for writing
			err := os.WriteFile(dir+"/nix-store", []byte(script), 0o700)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := volumes.Initialize(t.Context(), l, volumes.Program{Dir: dir}); err != nil {
					t.Fatal(err)
				}
			}
			got, _ := os.ReadFile(said) // none: nothing was done
			if made := strings.TrimSpace(string(got)) == "--init"; made != c.made {
				t.Errorf("it ran nix-store with %q", got)
			}
		})
	}
}
