package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// listener is a socket whose name is short, however long its path is: a socket's may have 108 bytes.
type listener struct {
	*net.UnixListener

	dir *os.File // keeps the name valid
}

func (l *listener) Close() error { return errors.Join(l.UnixListener.Close(), l.dir.Close()) }

// listen makes a socket that everybody may connect to, as the job's users may have any uid. It has its mode from the
// moment that it can be found.
func listen(path string) (*listener, error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the Nix gateway's socket: %w", &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err})
	}
	dir := os.NewFile(uintptr(fd), filepath.Dir(path)) //nolint:gosec // a descriptor
	l, err := bind(dir, filepath.Base(path))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the Nix gateway's socket %s: %w", path, err), dir.Close())
	}
	return &listener{UnixListener: l, dir: dir}, nil
}

// bind makes the socket base in dir. A job that can write there must not lead us elsewhere: a name in it is not followed.
func bind(dir *os.File, base string) (*net.UnixListener, error) {
	beneath := func(name string) string {
		return filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), name) // opened by O_PATH: nobody waits for it
	}
	fresh := base + ".new"
	if err := os.Remove(beneath(fresh)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: beneath(fresh), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = openToAll(dir, fresh); err == nil {
		err = os.Rename(beneath(fresh), beneath(base))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(beneath(fresh)))
	}
	return l, nil
}

// openToAll gives the socket name in dir its mode.
func openToAll(dir *os.File, name string) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s was replaced by something that is no socket", name)
	}
	return os.Chmod(filepath.Join("/proc/self/fd", strconv.Itoa(fd)), 0o666) //nolint:gosec // peers are untrusted whoever they are
}
