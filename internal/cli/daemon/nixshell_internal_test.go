package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/shell"
)

// TestShellNix reads what jobs on the machine itself have of Nix.
func TestShellNix(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		section string
		want    *shell.Nix
	}{
		"none":  {"", nil},
		"off":   {"[runners.nix]\nstore = \"off\"\n", nil},
		"host":  {"[runners.nix]\nstore = \"host\"\n", &shell.Nix{Socket: config.DefaultNixSocket}},
		"other": {"[runners.nix]\nstore = \"host\"\nhost_socket = \"/run/nix\"\npath = true\n", &shell.Nix{Socket: "/run/nix", Path: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "config.toml")
			text := "[[runners]]\nurl = \"https://x/\"\ntoken = \"glrt-1\"\nexecutor = \"shell\"\n" + c.section
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			loaded, err := config.Load(file, config.Options{Executors: Executors()})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, shellNix(loaded.Runners[0])); diff != "" {
				t.Error(diff)
			}
		})
	}
}
