package nixconn

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Hangups notices peers that are gone while nobody reads from them, whatever they have sent before. One goroutine does
// it for all connections.
type Hangups struct {
	poll *os.File // an epoll instance
	fd   int      // its descriptor: File.Fd would make it block
	done chan struct{}

	mu    sync.Mutex
	last  int32
	calls map[int32]func()
}

// NewHangups begins to watch; Close ends it.
func NewHangups() (*Hangups, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch connections: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // lets the runtime wait for it, without a thread
		return nil, errors.Join(fmt.Errorf("watch connections: %w", err), unix.Close(fd))
	}
	h := &Hangups{fd: fd, poll: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), calls: map[int32]func(){}} //nolint:gosec // a descriptor
	raw, err := h.poll.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch connections: %w", err), h.poll.Close())
	}
	go func() {
		defer close(h.done)
		events := make([]unix.EpollEvent, 16)
		for {
			var n int
			err := raw.Read(func(fd uintptr) bool {
				n, _ = unix.EpollWait(int(fd), events, 0) //nolint:gosec // a descriptor
				return n > 0
			})
			if err != nil {
				return // closed
			}
			for _, e := range events[:n] {
				h.call(e.Fd)
			}
		}
	}()
	return h, nil
}

func (h *Hangups) call(id int32) {
	h.mu.Lock()
	f := h.calls[id]
	h.mu.Unlock()
	if f != nil {
		f()
	}
}

// Watch has f called once when the peer of c is gone, until forget is called. f must not block.
func (h *Hangups) Watch(c *net.UnixConn, f func()) (forget func(), err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("watch a connection: %w", err)
	}
	h.mu.Lock()
	for h.last++; h.calls[h.last] != nil; h.last++ {
	}
	id := h.last
	h.calls[id] = f
	h.mu.Unlock()
	forget = func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.calls, id)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		// No events are asked for: that both directions are closed is told in any case.
		failed = unix.EpollCtl(h.fd, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLET | unix.EPOLLONESHOT, Fd: id}) //nolint:gosec // descriptors
	})
	if err = errors.Join(err, failed); err != nil {
		forget()
		return nil, fmt.Errorf("watch a connection: %w", err)
	}
	return forget, nil
}

// Close ends the watch over all connections.
func (h *Hangups) Close() {
	_ = h.poll.Close() // nothing to lose
	<-h.done
}
