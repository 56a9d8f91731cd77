package peer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

// TestJoinLoses has a socket of a group whose members are as good as root: only a person may make this user one of them.
func TestJoinLoses(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("it takes root")
	}
	const nobody, group = 65534, 1
	socket := filepath.Join(t.TempDir(), "docker.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(socket, 0, group), os.Chmod(socket, 0o660)); err != nil { //nolint:gosec // as engines make theirs
		t.Fatal(err)
	}
	var got finding.Result
	(&Engine{Machine: host.Machine{Root: "/", UID: nobody}}).join(&got, socket)
	if len(got.Mend) == 0 || got.Loses == "" || got.Advice == "" {
		t.Errorf("%+v", got)
	}
}
