package proc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// drain is how long output is waited for after a process has ended and others hold its pipe.
const drain = time.Second

// outputs brings the output of one process from its pipes to their writers. One goroutine does it for all
// pipes and takes them in the order in which they became readable, which the kernel remembers: what was
// written to standard output is recorded before what was then written to standard error, and the other way
// round. The order is lost only where the process changes streams again before the first write has been read.
//
// A pipe is read until the last process has closed it; after hurry for a second more, and in any case what
// was in it then. Time that a writer takes before it comes back to reading does not count.
type outputs struct {
	poll  int // an epoll instance, edge-triggered: its list of ready pipes is in order
	wake  int // an eventfd, in it too
	pipes []*pipe
	open  int
	ready []*pipe   // may have something to read, the oldest first
	until time.Time // not zero: the process has ended, and nobody waits for longer
}

// pipe is one of the outputs.
type pipe struct {
	fd     int // -1 when closed
	w      io.Writer
	queued bool   // in outputs.ready
	left   bool   // by its last writer, or broken: no further event will come
	owed   int    // so many bytes were in the pipe when the end was noticed, and have not been read
	buf    []byte // for writers that have none
}

func newOutputs() (*outputs, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("wait for a process's output: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for a process's output: %w", err), unix.Close(poll))
	}
	o := &outputs{poll: poll, wake: wake}
	if err := o.watch(wake, wakeIndex); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// wakeIndex is what wake is known by in poll; a pipe is known by its index.
const wakeIndex = -1

func (o *outputs) watch(fd int, index int32) error {
	err := unix.EpollCtl(o.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: index})
	if err != nil {
		return fmt.Errorf("wait for a process's output: %w", err)
	}
	return nil
}

// add takes over the reading end of a pipe.
func (o *outputs) add(fd int, w io.Writer) error {
	index := len(o.pipes)
	o.pipes = append(o.pipes, &pipe{fd: fd, w: w})
	o.open++
	if err := unix.SetNonblock(fd, true); err != nil { // only our end
		return fmt.Errorf("wait for a process's output: %w", err)
	}
	return o.watch(fd, int32(index)) //nolint:gosec // two at most
}

// hurry says that the process has ended. It may be called while copy runs, and after it.
func (o *outputs) hurry() {
	_, _ = unix.Write(o.wake, binary.NativeEndian.AppendUint64(nil, 1)) // cannot fail: the counter is far from full
}

// close may be called again. copy and hurry must have returned.
func (o *outputs) close() {
	for _, p := range o.pipes {
		o.shut(p)
	}
	for _, fd := range []*int{&o.wake, &o.poll} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

func (o *outputs) shut(p *pipe) {
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
		p.fd = -1
		o.open--
	}
}

// copy copies until all pipes are at their end. The error is that of the writers.
func (o *outputs) copy() error {
	var errs []error
	for o.open > 0 {
		late, err := o.await()
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if late {
			break
		}
		if len(o.ready) == 0 {
			continue
		}
		p := o.ready[0]
		o.ready = slices.Delete(o.ready, 0, 1)
		p.queued = false
		more, err := o.step(p, pipeSize)
		if err != nil {
			errs = append(errs, err)
		}
		if more {
			o.enqueue(p)
		}
	}
	for _, p := range o.pipes {
		for more := true; more && p.owed > 0; {
			var err error
			if more, err = o.step(p, p.owed); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// await waits until there is something in ready, or the time is over.
func (o *outputs) await() (late bool, err error) {
	timeout := -1
	if !o.until.IsZero() {
		left := time.Until(o.until)
		if left <= 0 {
			return true, nil
		}
		timeout = int(left.Milliseconds()) + 1
	}
	if len(o.ready) > 0 {
		timeout = 0
	}
	var events [4]unix.EpollEvent
	n, err := unix.EpollWait(o.poll, events[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return false, fmt.Errorf("wait for a process's output: %w", err)
	}
	for _, e := range events[:max(n, 0)] {
		if e.Fd != wakeIndex {
			p := o.pipes[e.Fd]
			p.left = p.left || e.Events&^unix.EPOLLIN != 0
			o.enqueue(p)
			continue
		}
		o.until = time.Now().Add(drain)
		for _, p := range o.pipes {
			p.owed = p.waiting()
		}
	}
	return false, nil
}

func (o *outputs) enqueue(p *pipe) {
	if p.fd >= 0 && !p.queued {
		o.ready = append(o.ready, p)
		p.queued = true
	}
}

// step reads at most limit bytes of p once and writes them. It reports whether there may be more now, of
// which no event would tell.
func (o *outputs) step(p *pipe, limit int) (more bool, err error) {
	if p.fd < 0 {
		return false, nil
	}
	r := &oneRead{fd: p.fd, limit: limit}
	if rf, ok := p.w.(io.ReaderFrom); ok {
		_, err = rf.ReadFrom(r)
	} else {
		if p.buf == nil {
			p.buf = make([]byte, 32<<10)
		}
		n, _ := r.Read(p.buf) // always io.EOF
		if n > 0 {
			_, err = p.w.Write(p.buf[:n])
		}
	}
	p.owed -= r.n
	if r.over || err != nil {
		o.shut(p)
	}
	return r.full || p.left, err
}

// waiting is how many bytes are in the pipe.
func (p *pipe) waiting() int {
	if p.fd < 0 {
		return 0
	}
	n, _ := unix.IoctlGetInt(p.fd, unix.TIOCINQ)
	return n
}

// oneRead is a reader that reads a descriptor once and then is at its end.
type oneRead struct {
	fd, limit int
	n         int
	full      bool // there may be more
	over      bool // the pipe's last writer has closed it, or it is broken
	done      bool
}

func (r *oneRead) Read(b []byte) (int, error) {
	if r.done || len(b) == 0 {
		return 0, io.EOF
	}
	r.done = true
	b = b[:min(len(b), r.limit)]
	for {
		n, err := unix.Read(r.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return 0, io.EOF
		case err != nil || n == 0:
			r.over = true
			return 0, io.EOF
		}
		r.n, r.full = n, n == len(b)
		return n, io.EOF
	}
}
