package shell

import (
	"os"

	"golang.org/x/sys/unix"
)

// reap returns when the child of pidfd, which it closes, has ended and is no zombie any more; how it
// ended is the agent's own record to say. wait does the same, but os/exec's holds a thread for as long as
// the child lives, which is a hundred threads and their stacks for a hundred jobs: it is only for
// kernels without pidfds (Linux before 5.4) or whose pidfds cannot be polled (before 5.10).
func reap(pidfd int, wait func() error) {
	if pidfd < 0 {
		_ = wait()
		return
	}
	err := unix.SetNonblock(pidfd, true)     // os.NewFile hands only such descriptors to Go's poller
	f := os.NewFile(uintptr(pidfd), "agent") //nolint:gosec // not negative
	defer f.Close()
	if err == nil {
		err = reapPolled(f)
	}
	if err != nil {
		_ = wait()
	}
}

func reapPolled(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG, nil) //nolint:gosec // a descriptor
		return err != nil || info.Signo != 0                                             // an error is that somebody else has reaped it
	})
}
