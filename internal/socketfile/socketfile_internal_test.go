package socketfile

import (
	"os"
	"path/filepath"
	"testing"
)

// TestChmod is given what somebody has put in the socket's place.
func TestChmod(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	victim, link := filepath.Join(dir, "victim"), filepath.Join(dir, "link")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{victim, link, filepath.Join(dir, "none")} {
		if err := chmod(path, 0o666); err == nil {
			t.Errorf("%s is given a mode", path)
		}
	}
	if i, err := os.Stat(victim); err != nil || i.Mode() != 0o600 {
		t.Error("a file's mode was changed: ", i, err)
	}
}
