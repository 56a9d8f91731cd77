package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reaper starts processes and waits for every child of this process, own and adopted. There must be only one in a
// process, and nothing else in it (os/exec, os.Process.Wait) may wait for children. Safe for concurrent use.
type Reaper struct {
	self  string // this program
	chld  chan os.Signal
	quit  chan struct{}
	ended sync.WaitGroup

	mu       sync.Mutex // also held from fork to registration, so that no exit is missed
	children map[int]*Process
}

// Process is one that Reaper.Start has started.
type Process struct {
	reaper *Reaper
	pid    int
	done   chan struct{}
	status syscall.WaitStatus // valid once done is closed
}

// NewReaper makes this process a subreaper and begins to wait for its children. The caller closes it.
func NewReaper() (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the parent of orphans: %w", err)
	}
	r := &Reaper{self: "/proc/self/exe", chld: make(chan os.Signal, 1), quit: make(chan struct{}), children: map[int]*Process{}}
	signal.Notify(r.chld, syscall.SIGCHLD)
	r.reap() // what ended before anybody was told
	r.ended.Go(r.loop)
	return r, nil
}

// Close stops waiting. Processes live on.
func (r *Reaper) Close() {
	signal.Stop(r.chld)
	close(r.quit)
	r.ended.Wait()
}

func (r *Reaper) loop() {
	for {
		select {
		case <-r.quit:
			return
		case <-r.chld:
			r.reap()
		}
	}
}

// reap collects every child that has ended.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == 0 { // ECHILD: there is none
			return
		}
		if p := r.children[pid]; p != nil {
			delete(r.children, pid)
			p.status = status
			close(p.done)
		}
	}
}

// Start starts a program in a session of its own. files are its descriptors from 0 on; they stay the caller's. That
// the program itself could not be run shows in how it ends: see Become.
func (r *Reaper) Start(c Command, files ...*os.File) (*Process, error) {
	args, err := c.arguments()
	if err != nil {
		return nil, err
	}
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(r.self, args, &syscall.ProcAttr{
		Env: c.Env, Files: fds, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: c.Path, Err: err}
	}
	p := &Process{reaper: r, pid: pid, done: make(chan struct{})}
	r.children[pid] = p
	return p, nil
}

// PID is the process's id, and its session's.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status is how the process ended. It is valid once Done is closed.
func (p *Process) Status() syscall.WaitStatus { return p.status }

// Signal sends a signal to the process, and never to another one that has its id by now. It reports whether there was
// somebody to get it.
func (p *Process) Signal(s syscall.Signal) bool {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.children[p.pid] != p {
		return false
	}
	return syscall.Kill(p.pid, s) == nil
}

// killGroup ends what of an ended process's group is still there: what it has started and what has not made itself
// independent of it. The kernel gives a process group's id to nobody else while the group has a member, but does when it
// has none: the caller must be the only one who starts processes whose ids matter, and call it at once.
func (p *Process) killGroup() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

// Ending says how a process ended, for people.
func Ending(s syscall.WaitStatus) string {
	switch {
	case s.Signaled():
		return fmt.Sprintf("was ended by the signal %d (%s)", s.Signal(), s.Signal())
	case s.ExitStatus() == 0:
		return "ended by itself, with exit code 0"
	default:
		return fmt.Sprintf("ended with exit code %d", s.ExitStatus())
	}
}
