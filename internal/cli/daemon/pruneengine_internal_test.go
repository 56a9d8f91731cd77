package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSameSocket: only the engine that is meant is pruned, under any of its names.
func TestSameSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, link := filepath.Join(dir, "podman.sock"), filepath.Join(dir, "link.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(socket, link); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"unix://" + socket: true, "unix://" + link: true, "unix://" + dir + "/other.sock": false, "tcp://" + socket: false, "tcp://localhost:2375": false,
	} {
		if got := sameSocket(address, socket); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
	if sameSocket("unix://", "") {
		t.Error("no socket is one")
	}
}
