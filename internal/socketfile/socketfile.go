// Package socketfile makes unix sockets that have their mode from the moment in which they can be found.
package socketfile

import (
	"errors"
	"io/fs"
	"net"
	"os"
)

// Listen makes a socket at path with a mode: beside its name, and renamed, since who dials may be another user, to whom one
// that has not its mode yet is closed. What is at path is replaced, as is what an earlier attempt left at path.new. The caller
// has the directory to himself, and removes path: closing the listener does not, for a successor's may be there by then. As the
// kernel has it, path.new is of at most 108 bytes; /proc/self/fd/N/NAME is a way round that.
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
	err = os.Chmod(fresh, mode)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(fresh))
	}
	return l, nil
}
