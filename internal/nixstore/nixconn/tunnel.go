package nixconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tunnel takes what a connection sends on to another one without bringing it into this process: the kernel passes on
// the pages that it is in (splice(2)). It is a nixwire.Tunnel, for one goroutine at a time. Neither connection's Reader or
// Writer may have anything in its buffer while it is used.
type Tunnel struct {
	from, to syscall.RawConn
	in, out  [2]int // pipes: what was taken, and frames that are to be passed on
	framed   int    // bytes in out
}

// tunnelSize is how much a tunnel takes at once: about what a socket holds.
const tunnelSize = 256 << 10

// NewTunnel makes a tunnel. The caller closes it. The error is errors.ErrUnsupported where there are none.
func NewTunnel(from, to *Conn) (*Tunnel, error) {
	t := &Tunnel{}
	var err error
	if t.from, err = from.SyscallConn(); err != nil {
		return nil, err
	}
	if t.to, err = to.SyscallConn(); err != nil {
		return nil, err
	}
	if err := unix.Pipe2(t.in[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.Pipe2(t.out[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		_, _ = unix.Close(t.in[0]), unix.Close(t.in[1]) // nothing to lose
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	for _, fd := range []int{t.in[0], t.out[0]} {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, tunnelSize) //nolint:gosec // a descriptor; a smaller one will do
	}
	return t, nil
}

// Close ends the tunnel; what is in it is lost.
func (t *Tunnel) Close() {
	for _, fd := range []int{t.in[0], t.in[1], t.out[0], t.out[1]} {
		_ = unix.Close(fd) // nothing to lose
	}
}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK

// Take implements nixwire.Tunnel.
func (t *Tunnel) Take(limit uint64) (int, error) {
	var n int64
	var failed error
	err := t.from.Read(func(fd uintptr) bool {
		n, failed = again(func() (int64, error) {
			return unix.Splice(int(fd), nil, t.in[1], nil, int(min(limit, tunnelSize)), spliceFlags) //nolint:gosec // a descriptor, and bounded
		})
		return !errors.Is(failed, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return 0, err
	case errors.Is(failed, unix.EINVAL), errors.Is(failed, unix.ENOSYS), errors.Is(failed, unix.EPERM): // of a kernel, or a seccomp profile
		return 0, fmt.Errorf("splice: %w", errors.ErrUnsupported)
	case failed != nil:
		return 0, fmt.Errorf("splice: %w", failed)
	case n == 0:
		return 0, io.EOF
	}
	return int(n), nil
}

// Look implements nixwire.Tunnel.
func (t *Tunnel) Look(p []byte) error {
	for len(p) > 0 {
		n, err := again(func() (int, error) { return unix.Read(t.in[0], p) })
		if err != nil {
			return fmt.Errorf("read from a pipe: %w", err)
		}
		p = p[n:]
	}
	return nil
}

// Give implements nixwire.Tunnel.
func (t *Tunnel) Give(n int) error {
	var head [8]byte
	binary.LittleEndian.PutUint64(head[:], uint64(n)) //nolint:gosec // positive
	if err := t.fill(len(head), func(int) (int64, error) {
		written, err := unix.Write(t.out[1], head[:]) // of so few bytes all or none
		return int64(written), err
	}); err != nil {
		return err
	}
	return t.fill(n, func(left int) (int64, error) {
		return unix.Splice(t.in[0], nil, t.out[1], nil, left, spliceFlags)
	})
}

// fill calls put until n bytes more are in the second pipe, which is emptied when it is full.
func (t *Tunnel) fill(n int, put func(left int) (int64, error)) error {
	for n > 0 {
		moved, err := again(func() (int64, error) { return put(n) })
		switch {
		case errors.Is(err, unix.EAGAIN) && t.framed > 0:
			if err := t.Flush(); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("write to a pipe: %w", err)
		}
		if moved > 0 {
			n -= int(moved)
			t.framed += int(moved)
		}
	}
	return nil
}

// Flush implements nixwire.Tunnel.
func (t *Tunnel) Flush() error {
	for t.framed > 0 {
		var n int64
		var failed error
		err := t.to.Write(func(fd uintptr) bool {
			n, failed = again(func() (int64, error) {
				return unix.Splice(t.out[0], nil, int(fd), nil, t.framed, spliceFlags) //nolint:gosec // a descriptor
			})
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("splice: %w", err)
		}
		t.framed -= int(n)
	}
	return nil
}

// again calls f until no signal interrupts it.
func again[N int | int64](f func() (N, error)) (N, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
