package socketfile_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/socketfile"
)

func TestListen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	for _, left := range []string{path, path + ".new"} {
		if err := os.WriteFile(left, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var listeners []net.Listener
	for _, mode := range []fs.FileMode{0o600, 0o777} {
		l, err := socketfile.Listen(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		if i, err := os.Lstat(path); err != nil || i.Mode() != fs.ModeSocket|mode {
			t.Errorf("%v, %v, want mode %o", i, err, mode)
		}
	}
	// The first one's end leaves the second one's socket.
	if err := listeners[0].Close(); err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := listeners[1].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := socketfile.Listen(filepath.Join(path, "none", "s"), 0o600); err == nil {
		t.Error("a socket in a directory that is none")
	}
}
