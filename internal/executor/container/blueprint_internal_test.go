package container

import (
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent"
)

// TestMakePlaceFollowsNoLinks makes a place again in which a job has been, as after a restart of the runner before all of an
// environment is made: what the job has put there leads nowhere.
func TestMakePlaceFollowsNoLinks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sock", agent.ConfigName + ".new"} {
		victim, place := t.TempDir(), filepath.Join(t.TempDir(), "helper")
		file := filepath.Join(victim, "file")
		target := map[string]string{"sock": victim}[name]
		if target == "" {
			target = file
		}
		for _, err := range []error{
			os.Chmod(victim, 0o700), os.WriteFile(file, []byte("mine"), 0o600), os.Mkdir(place, 0o700), os.Symlink(target, filepath.Join(place, name)), //nolint:gosec // as it is
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		err := makePlace(place, agent.Config{})
		if name == "sock" && err == nil {
			t.Errorf("%s: it is taken for a directory of the place", name)
		}
		if i, err := os.Stat(victim); err != nil || i.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", name, i.Mode(), err)
		}
		if raw, err := os.ReadFile(file); err != nil || string(raw) != "mine" {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
}
