package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/socketfile"
)

// listener is a socket whose name is short, however long its path is: a socket's may have 108 bytes.
type listener struct {
	*net.UnixListener

	dir *os.File // keeps the name valid
}

func (l *listener) Close() error { return errors.Join(l.UnixListener.Close(), l.dir.Close()) }

// listen makes a socket that everybody may connect to, as the job's users may have any uid: peers are untrusted whoever they
// are.
func listen(path string) (*listener, error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the Nix gateway's socket: %w", &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err})
	}
	dir := os.NewFile(uintptr(fd), filepath.Dir(path)) //nolint:gosec // a descriptor
	l, err := socketfile.Listen(filepath.Join("/proc/self/fd", strconv.Itoa(fd), filepath.Base(path)), 0o666)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the Nix gateway's socket %s: %w", path, err), dir.Close())
	}
	return &listener{UnixListener: l, dir: dir}, nil
}
