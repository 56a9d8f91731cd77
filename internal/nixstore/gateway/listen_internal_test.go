package gateway

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestListen makes sockets where an earlier one is, where a path is long, and where somebody has put something else.
func TestListen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, "socket.new")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, err := listen(filepath.Join(dir, "socket"))
		if err != nil {
			t.Fatal(err)
		}
		i, err := os.Lstat(filepath.Join(dir, "socket"))
		if err != nil || i.Mode() != os.ModeSocket|0o666 {
			t.Error(i.Mode(), err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if i, err := os.Stat(victim); err != nil || i.Mode() != 0o600 {
		t.Error("the link was followed:", i.Mode(), err)
	}
	if _, err := listen(filepath.Join(dir, "missing", "socket")); err == nil {
		t.Error("a socket in no directory")
	}
	var _ net.Listener = (*listener)(nil)
}
