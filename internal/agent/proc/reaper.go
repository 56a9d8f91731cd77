// Package proc owns the agent's processes: it starts them, is the only one to wait for them, and
// ends whole trees of them, whatever sessions and parents they gave themselves.
//
// The agent is a child subreaper, so what its children orphan becomes its own child: every process
// that a stage starts stays a descendant of the agent until it has ended. That is what makes "every
// process of the stage" a thing that can be computed. Processes that the agent's own program started
// before it became the agent (an image's entrypoint may leave a daemon and then exec the agent) are
// nobody's and are let be.
//
// Sources: prctl(2) PR_SET_CHILD_SUBREAPER, proc(5), pidfd_open(2), wait(2).
package proc

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reaper waits for every child of this process, own and adopted. There must be only one in a process, and
// nothing else in it (os/exec, os.Process.Wait) may wait for children. Safe for concurrent use.
type Reaper struct {
	log   *slog.Logger
	chld  chan os.Signal
	quit  chan struct{}
	ended sync.WaitGroup
	forks chan func() // to the thread whose children are confined; nil: none is
	oom   oomScore
	asked asked

	mu       sync.Mutex // also held from fork to registration, so that no exit is missed
	children map[int]*child
	groups   map[*Group]struct{}
	spared   map[identity]struct{} // children from before the agent
}

// child is a direct child that Start made.
type child struct {
	pid    int
	exited chan struct{}
	status syscall.WaitStatus // valid once exited is closed
}

// NewReaper makes this process a subreaper and starts to wait for its children. The caller closes it.
func NewReaper(log *slog.Logger) (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	r := &Reaper{
		log: log, chld: make(chan os.Signal, 1), quit: make(chan struct{}),
		oom:      newOOMScore(),
		children: map[int]*child{}, groups: map[*Group]struct{}{}, spared: map[identity]struct{}{},
	}
	signal.Notify(r.chld, syscall.SIGCHLD)
	if r.reap() {
		for _, p := range descendants(scan(), os.Getpid()) {
			r.spared[p.identity] = struct{}{}
		}
	}
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

// reap collects every child that has ended and reports whether there are others.
func (r *Reaper) reap() (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return false // ECHILD
		case pid == 0:
			return true
		}
		if c := r.children[pid]; c != nil {
			delete(r.children, pid)
			c.status = status
			close(c.exited)
		}
	}
}

// fork starts a program and registers it before anybody can miss its end.
func (r *Reaper) fork(g *Group, path string, args []string, attr *syscall.ProcAttr) (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := 0, os.ErrProcessDone
	lower := r.oom.raise()
	r.onThread(func() { pid, err = syscall.ForkExec(path, args, attr) })
	lower()
	if err != nil {
		return nil, &os.PathError{Op: "exec", Path: path, Err: err}
	}
	c := &child{pid: pid, exited: make(chan struct{})}
	r.children[pid] = c
	g.sessions[pid] = struct{}{}
	return c, nil
}

// oomScore lets children be chosen by the OOM killer before the agent. A process may always raise
// its own score and take that back, and children inherit it at fork; writing the child's afterwards
// would miss what it forks first.
type oomScore struct {
	file        string
	own, raised string
}

// oomRaise is how much more likely a child is to be chosen, in thousandths of the memory.
const oomRaise = 500

func newOOMScore() oomScore {
	const file = "/proc/self/oom_score_adj"
	b, err := os.ReadFile(file)
	own, err2 := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || err2 != nil || own >= 1000 {
		return oomScore{}
	}
	return oomScore{file: file, own: strconv.Itoa(own), raised: strconv.Itoa(min(own+oomRaise, 1000))}
}

func (o oomScore) raise() (lower func()) {
	if o.file == "" || os.WriteFile(o.file, []byte(o.raised), 0) != nil {
		return func() {}
	}
	return func() { _ = os.WriteFile(o.file, []byte(o.own), 0) } // was allowed a moment ago
}
