package agent

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestSocketHasItsModeFromTheFirst looks at the socket as soon as it can be found: a user who dials then is not turned away.
func TestSocketHasItsModeFromTheFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, SockName)
	for range 200 {
		first := make(chan fs.FileMode, 1)
		go func() {
			for {
				if i, err := os.Lstat(path); err == nil {
					first <- i.Mode().Perm()
					return
				}
			}
		}()
		l, err := listen(dir, true)
		if err != nil {
			t.Fatal(err)
		}
		if mode := <-first; mode != 0o777 {
			t.Fatalf("its mode is %o at first", mode)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("left: %v (%v)", left, err)
		}
	}
}
