package nixconn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Nobody is the user and group id as which a Dialer with Unprivileged connects.
const Nobody = 65534

// keep is the id that setresuid(2) and setresgid(2) leave as it is.
const keep = ^uintptr(0)

// UserError is that a connection as another user cannot be made here.
type UserError struct{ Err error }

func (e *UserError) Error() string {
	return fmt.Sprintf("Skerry's gateway connects to the Nix daemon as the unprivileged user id %d, which it may not here (%v). Its container needs the capabilities SETUID and SETGID, and that id in its user namespace", Nobody, e.Err)
}

func (e *UserError) Unwrap() error { return e.Err }

// connect connects to socket; as nobody where that is asked for and this process is root.
func connect(socket string, unprivileged bool) (*net.UnixConn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "socket") //nolint:gosec // a descriptor
	defer f.Close()
	to := func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: socket}) } // at once, or EAGAIN
	if unprivileged && os.Geteuid() == 0 {
		err = asNobody(to)
	} else {
		err = to()
	}
	if err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, c.Close())
	}
	return conn, nil
}

// asNobody calls f with the effective ids of nobody, and without capabilities; root's groups stay. Ids are those of a
// thread (credentials(7), "C library/kernel differences"), and no other goroutine runs on this one meanwhile. The peer of
// a socket that is connected then sees these ids (SO_PEERCRED in unix(7)), but may not signal the thread: its real ids stay.
// A thread that could not become root again ends
// with its goroutine, so f runs on one of its own.
func asNobody(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, back := swap(f)
		if back {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// swapping is held while a thread has other ids: whether a process may be dumped is said of all its threads, goes with any
// change of ids, and must not be looked at between.
var swapping sync.Mutex //nolint:gochecknoglobals // of the process, as what it guards

// swap changes the thread's ids for the time of f; back reports whether they are what they were.
func swap(f func() error) (err error, back bool) { //nolint:revive // the error is f's
	set := func(call, id uintptr) error {
		if _, _, e := unix.RawSyscall(call, keep, id, keep); e != 0 {
			return e
		}
		return nil
	}
	swapping.Lock()
	defer swapping.Unlock()
	if dumpable, _, e := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0); e == 0 {
		defer unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, dumpable, 0) //nolint:errcheck // a convenience
	}
	gid := uintptr(os.Getegid()) //nolint:gosec // an id
	if err := set(unix.SYS_SETRESGID, Nobody); err != nil {
		return &UserError{err}, true
	}
	if err := set(unix.SYS_SETRESUID, Nobody); err != nil {
		return &UserError{err}, set(unix.SYS_SETRESGID, gid) == nil
	}
	err = f()
	back = set(unix.SYS_SETRESUID, 0) == nil && set(unix.SYS_SETRESGID, gid) == nil
	return err, back
}

// whom says as which user the daemon sees a Dialer: by its id on the machine, where this process has another view of it.
func whom(unprivileged bool) string {
	uid := os.Geteuid()
	if unprivileged && uid == 0 {
		uid = Nobody
	}
	if m, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		if outer, ok := outside(string(m), uid); ok && outer != uid {
			return fmt.Sprintf("the user id %d (%d in the gateway's container)", outer, uid)
		}
	}
	return fmt.Sprintf("the user id %d", uid)
}

// outside is what an id is beyond a user namespace. Source: user_namespaces(7), "User and group ID mappings".
func outside(idMap string, id int) (int, bool) {
	for line := range strings.Lines(idMap) {
		var n [3]int
		fields := strings.Fields(line)
		if len(fields) != len(n) {
			continue
		}
		for i, f := range fields {
			n[i], _ = strconv.Atoi(f) // the kernel's
		}
		if id >= n[0] && id-n[0] < n[2] {
			return n[1] + id - n[0], true
		}
	}
	return 0, false
}
