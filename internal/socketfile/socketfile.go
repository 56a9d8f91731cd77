// Package socketfile makes unix sockets that have their mode from the moment in which they can be found.
package socketfile

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listen makes a socket at path with a mode: beside its name, and renamed, since who dials may be another user, to whom one
// that has not its mode yet is closed. What is at path is replaced, as is what an earlier attempt left at path.new. Who else can
// write to the directory can remove the socket, but has nothing else given a mode. The caller removes path: closing the listener
// does not, for a successor's may be there by then. As the kernel has it, path.new is of at most 108 bytes;
// /proc/self/fd/N/NAME is a way round that.
func Listen(path string, mode fs.FileMode) (*net.UnixListener, error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = chmod(fresh, mode)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(fresh))
	}
	return l, nil
}

// chmod gives a socket its mode, and nothing else.
func chmod(path string, mode fs.FileMode) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s was replaced by something that is no socket", path)
	}
	return os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}
