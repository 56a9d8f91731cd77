package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/socketfile"
)

// listener accepts the runner's connections.
type listener struct {
	*net.UnixListener
	dir    *os.File // keeps the path of the socket valid
	shared bool
}

// listen makes the agent's socket in dir, which is made (0700) when missing. An old socket is
// replaced: who calls this has the lock.
func listen(dir string, shared bool) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for the socket: %w", err)
	}
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o600)
	if shared {
		mode = 0o777
	}
	l, err := socketfile.Listen(shortPath(d), mode)
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("make the socket in %s: %w", dir, err)
	}
	return &listener{UnixListener: l, dir: d, shared: shared}, nil
}

// openDir opens a directory only to name things in it.
func openDir(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the directory for the socket: %w", &os.PathError{Op: "open", Path: dir, Err: err})
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// shortPath names the socket in d; a socket's path has at most 108 bytes, a directory's may have more.
func shortPath(d *os.File) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), SockName)
}

// Accept returns the next connection of somebody who may talk to the agent.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if l.shared || trusted(c) {
			return c, nil
		}
		_ = c.Close() // there is nobody to tell
	}
}

// Close closes and removes the socket.
func (l *listener) Close() error {
	err := os.Remove(shortPath(l.dir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.UnixListener.Close(), l.dir.Close())
}

// trusted reports whether the peer is the agent's own user or root.
func trusted(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		ok = err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
	})
	return err == nil && ok
}
