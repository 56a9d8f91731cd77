package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pipe carries what a program and its later starts write to a log. This process holds its writing end, too: what a
// program leaves behind may go on writing to it, and is not ended by that when the program is started again.
type pipe struct {
	in, out *os.File // ends for reading and writing
	lines   lines

	mu     sync.Mutex
	asked  []chan struct{} // who waits for all that was written until now
	over   bool
	copied sync.WaitGroup
}

func newPipe(prefix string, log *Log) (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe for output: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // the reading end alone: programs do not expect it of theirs
		return nil, fmt.Errorf("make a pipe for output: %w", err)
	}
	p := &pipe{in: os.NewFile(uintptr(fds[0]), prefix), out: os.NewFile(uintptr(fds[1]), prefix), lines: lines{prefix: prefix, log: log}} //nolint:gosec // descriptors
	p.copied.Go(p.copy)
	return p, nil
}

// copy carries until close. A deadline wakes it to see to those who wait.
func (p *pipe) copy() {
	buf := make([]byte, 32<<10)
	for {
		n, err := p.in.Read(buf)
		_, _ = p.lines.Write(buf[:n]) // never fails
		if err == nil {
			continue
		}
		p.mu.Lock()
		waiting := p.asked
		p.asked = nil
		p.over = p.over || !errors.Is(err, os.ErrDeadlineExceeded)
		p.mu.Unlock()
		p.drain(buf)
		p.lines.flush()
		for _, c := range waiting {
			close(c)
		}
		if p.served() {
			return
		}
	}
}

// drain carries what is in the pipe now, which Read does not after its deadline. At most what a pipe can hold, so that
// who writes without a pause keeps nobody waiting.
func (p *pipe) drain(buf []byte) {
	raw, err := p.in.SyscallConn()
	if err != nil {
		return
	}
	for left := 1 << 20; left > 0; {
		n := 0
		err := raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buf) }) //nolint:gosec // a descriptor
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 { // EAGAIN, or closed
			return
		}
		_, _ = p.lines.Write(buf[:n]) // never fails
		left -= n
	}
}

// served reports whether there is nothing more to do; else reading goes on unless somebody waits again.
func (p *pipe) served() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) > 0 {
		return false
	}
	if !p.over {
		_ = p.in.SetReadDeadline(time.Time{}) // of a pipe: possible
	}
	return p.over
}

// settle returns when all that was written before is in the log, a line that was not ended too.
func (p *pipe) settle() {
	done := make(chan struct{})
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return
	}
	p.asked = append(p.asked, done)
	_ = p.in.SetReadDeadline(time.Unix(1, 0)) // long ago
	p.mu.Unlock()
	<-done
}

// close ends it, when all that was written before is in the log.
func (p *pipe) close() {
	p.mu.Lock()
	p.over = true
	_ = p.in.SetReadDeadline(time.Unix(1, 0))
	p.mu.Unlock()
	p.copied.Wait()
	_, _ = p.in.Close(), p.out.Close()
}

var _ io.Writer = (*lines)(nil)
