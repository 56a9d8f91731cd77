package gitlabtest

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepPort keeps a listener's port for its owner until release is called, also while nobody listens there: connections
// are refused then, and nobody else on this machine gets the port, neither to listen on nor to connect from. The same
// user listens there again by listenAgain.
//
// A bound socket that does not listen keeps it. What shares a port has to say so on both sides (SO_REUSEPORT, socket(7)),
// and who has a socket that does not is refused as ever: the listener says so only when it has got the port for itself.
func keepPort(l net.Listener) (release func(), err error) {
	at, ok := l.Addr().(*net.TCPAddr)
	listener, raw := l.(syscall.Conn)
	if !ok || !raw {
		return nil, fmt.Errorf("keep the port of %v: it is not one of TCP", l.Addr())
	}
	c, err := listener.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("keep the port of %v: %w", at, err)
	}
	if err := share("", "", c); err != nil {
		return nil, fmt.Errorf("keep the port of %v: %w", at, err)
	}
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: at.Port, Addr: [16]byte(at.IP.To16())})
	if four := at.IP.To4(); four != nil {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Port: at.Port, Addr: [4]byte(four)}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keep the port of %v: %w", at, err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err == nil {
		err = unix.Bind(fd, addr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("keep the port of %v: %w", at, err)
	}
	return func() { _ = unix.Close(fd) }, nil
}

// listenAgain is how to listen on a port that is kept.
func listenAgain() *net.ListenConfig { return &net.ListenConfig{Control: share} }

func share(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}

// atOnce is a listener that refuses connections as soon as it is closed. Without that they are taken for as long as a
// process that this one is just starting has not executed its program: until then it has all that its parent had.
type atOnce struct{ net.Listener }

func (l atOnce) Close() error {
	if c, ok := l.Listener.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) }) // closed already
		}
	}
	return l.Listener.Close()
}
