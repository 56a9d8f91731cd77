// Package sockdir connects to sockets in directories that a job can write. Whoever owns the job may
// have put a link there that leads elsewhere: the socket is opened beneath the directory, without
// following any link, and reached through /proc/self/fd, which also has no limit of 108 bytes.
package sockdir

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dial connects to the unix socket name (a path relative to dir, without links) in dir. It fails with
// fs.ErrNotExist when there is none (yet) and with ECONNREFUSED when nobody listens.
func Dial(ctx context.Context, dir, name string) (net.Conn, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the socket's directory %s: %w", dir, err)
	}
	defer unix.Close(root) //nolint:errcheck // an O_PATH descriptor
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open the socket %s in %s: %w", name, dir, err)
	}
	socket := os.NewFile(uintptr(fd), name)
	defer socket.Close()
	info, err := socket.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the socket %s in %s: %w", name, dir, err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("%s in %s is not a socket but %s: the job has replaced it", name, dir, info.Mode().Type())
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("connect to the socket %s in %s: %w", name, dir, err)
	}
	return conn, nil
}
