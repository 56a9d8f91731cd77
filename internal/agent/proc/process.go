package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/stage"
)

// drain is how long output is waited for after a process has ended and others hold its pipe.
const drain = time.Second

// pipeSize is what a process can write ahead of the agent.
const pipeSize = 256 << 10

// Process is a process of a group. It implements stage.Process.
type Process struct {
	g     *Group
	child *child
	asked asked
	done  chan struct{} // ended, and its output copied
	err   error         // of the writers; valid once done is closed
}

var _ stage.Process = (*Process)(nil)

// Start starts a process as stage.Command describes it.
func (g *Group) Start(c stage.Command) (*Process, error) {
	st := stdio{}
	defer st.release()
	in, err := st.input(c.Stdin)
	if err != nil {
		return nil, err
	}
	out, err := st.output(c.Stdout)
	if err != nil {
		return nil, err
	}
	errOut := out
	if c.Stderr == nil || c.Stderr != c.Stdout {
		if errOut, err = st.output(c.Stderr); err != nil {
			return nil, err
		}
	}
	files := []uintptr{in, out, errOut}
	for _, f := range c.ExtraFiles {
		files = append(files, f.Fd())
	}
	env := append(c.Env[:len(c.Env):len(c.Env)], MarkVariable+"="+g.mark)
	child, err := g.r.fork(g, c.Path, c.Args, &syscall.ProcAttr{
		Dir: c.Dir, Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, err
	}
	p := &Process{g: g, child: child, done: make(chan struct{})}
	copies := st.copies
	st.copies = nil
	go p.follow(copies)
	return p, nil
}

// PID is the process's id and that of its session and group.
func (p *Process) PID() int { return p.child.pid }

// Wait implements stage.Process.
func (p *Process) Wait() (stage.Exit, error) {
	<-p.done
	s := p.child.status
	if s.Signaled() {
		return stage.Exit{Code: 128 + int(s.Signal()), Signal: s.Signal()}, p.err
	}
	return stage.Exit{Code: s.ExitStatus()}, p.err
}

// End implements stage.Process.
func (p *Process) End(grace time.Duration) {
	_ = end(func() []info { // survivors are reported when the stage ends
		if !p.g.r.reap() {
			return nil
		}
		all := scan()
		list := descendants(all, p.child.pid)
		in := map[int]bool{}
		for _, q := range list {
			in[q.pid] = true
		}
		for _, q := range all {
			if !in[q.pid] && q.sid == p.child.pid {
				list = append(list, q)
			}
		}
		return list
	}, &p.asked, grace)
	<-p.done
}

// follow copies the output, waits for the end and says when all is done.
func (p *Process) follow(copies []*copying) {
	var wg sync.WaitGroup
	errs := make([]error, len(copies))
	for i, c := range copies {
		wg.Go(func() { errs[i] = c.run() })
	}
	<-p.child.exited
	for _, c := range copies {
		c.drain()
	}
	wg.Wait()
	p.err = errors.Join(errs...)
	close(p.done)
}

// stdio collects what a process needs of descriptors.
type stdio struct {
	opened []int // to be closed once the process has them
	copies []*copying
}

func (s *stdio) release() {
	for _, fd := range s.opened {
		_ = unix.Close(fd)
	}
	for _, c := range s.copies {
		_ = c.pipe.Close()
	}
}

func (s *stdio) null(mode int) (uintptr, error) {
	fd, err := unix.Open(os.DevNull, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	s.opened = append(s.opened, fd)
	return uintptr(fd), nil
}

func (s *stdio) input(f *os.File) (uintptr, error) {
	if f == nil {
		return s.null(unix.O_RDONLY)
	}
	return f.Fd(), nil
}

func (s *stdio) output(w io.Writer) (uintptr, error) {
	if w == nil {
		return s.null(unix.O_WRONLY)
	}
	if f, ok := w.(*os.File); ok {
		return f.Fd(), nil
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe for a process's output: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one works as well
	_ = unix.SetNonblock(p[0], true)                                 // only our end: deadlines work then
	s.opened = append(s.opened, p[1])
	s.copies = append(s.copies, &copying{pipe: os.NewFile(uintptr(p[0]), "output"), w: w})
	return uintptr(p[1]), nil
}

// copying brings output from a pipe to its writer. It reads until the last process has closed the pipe; after
// drain for a second more, and in any case what was in the pipe then. Time that the writer takes
// before it comes back to reading does not count.
type copying struct {
	pipe     *os.File
	w        io.Writer
	draining bool // the reader has noticed; only it uses this and owed
	owed     int  // bytes that were in the pipe then
}

func (c *copying) run() error {
	defer c.pipe.Close()
	if rf, ok := c.w.(io.ReaderFrom); ok {
		_, err := rf.ReadFrom(c)
		return err
	}
	_, err := io.Copy(c.w, struct{ io.Reader }{c})
	return err
}

// drain makes the reader, wherever it is, look at the pipe and hurry.
func (c *copying) drain() {
	_ = c.pipe.SetReadDeadline(time.Unix(1, 0)) // fails only when the pipe is closed already
}

// Read implements io.Reader for run.
func (c *copying) Read(p []byte) (int, error) {
	for {
		n, err := c.pipe.Read(p)
		if c.draining {
			c.owed -= n
		}
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case !c.draining:
			c.draining = true
			c.owed = c.waiting()
			_ = c.pipe.SetReadDeadline(time.Now().Add(drain))
		case c.owed <= 0:
			return 0, io.EOF
		default:
			_ = c.pipe.SetReadDeadline(time.Time{}) // it is there: this does not wait
			n, err := c.pipe.Read(p[:min(len(p), c.owed)])
			_ = c.pipe.SetReadDeadline(time.Unix(1, 0))
			c.owed -= n
			return n, err
		}
	}
}

// waiting is how many bytes are in the pipe.
func (c *copying) waiting() (n int) {
	raw, err := c.pipe.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}
