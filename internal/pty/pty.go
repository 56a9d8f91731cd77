// Package pty makes pseudo terminals.
//
// Sources: pts(4), ioctl_tty(2).
package pty

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Open makes a pseudo terminal: what is written to master is typed, what a program writes to slave is read
// from master. Reading and writing master follow its deadlines and end with its Close. The caller
// closes both; slave as soon as a process has it, or master never comes to its end.
func Open() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a terminal: %w", &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err})
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("unlock a terminal: %w", err), master.Close())
	}
	peer, err := openPeer(fd)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a terminal's other end: %w", err), master.Close())
	}
	return master, os.NewFile(uintptr(peer), "terminal"), nil
}

// openPeer asks the kernel for the other end. By its name it could be another one: /dev/pts is what the
// place says it is. Kernels without the request leave only the name.
func openPeer(master int) (int, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno == 0 {
		return int(fd), nil
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, errno
	}
	return unix.Open("/dev/pts/"+strconv.Itoa(n), flags, 0)
}

// SetSize tells a terminal how large its window is, and the programs in it that it has changed.
func SetSize(f *os.File, rows, cols uint16) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("set the size of a terminal: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("set the size of a terminal: %w", err)
	}
	return nil
}
