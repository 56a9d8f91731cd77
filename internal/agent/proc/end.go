package proc

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// afterKill is how long processes may take to vanish after KILL before they are given up: they are
// in the kernel (a dead network mount), or are not ours to signal (sudo).
const afterKill = 10 * time.Second

// asked remembers who has had TERM: a second one means something else to many programs.
type asked struct {
	mu   sync.Mutex // held for a whole round of signals: who else ends the same processes must not overtake it
	term map[identity]bool
}

// first reports whether id has not been asked before. a.mu is held.
func (a *asked) first(id identity) bool {
	if a.term == nil {
		a.term = map[identity]bool{}
	}
	seen := a.term[id]
	a.term[id] = true
	return !seen
}

// end sends TERM to what members lists, again and again until it lists nothing, from grace on KILL.
// Members lists parents before their children: a shell that has had its own signal says nothing of how
// its command ended, and does not go on to the next one.
func end(members func() []info, a *asked, grace time.Duration) error {
	killAt := time.Now().Add(grace)
	giveUp := killAt.Add(afterKill)
	for {
		list := members()
		if len(list) == 0 {
			return nil
		}
		now := time.Now()
		kill := !now.Before(killAt)
		if kill && now.After(giveUp) {
			return survivors(list)
		}
		fds := a.signal(list, kill)
		if kill {
			await(fds, giveUp)
		} else {
			await(fds, killAt)
		}
	}
}

// signal sends KILL to all of list, or TERM to those that have not had it, and returns what to await.
func (a *asked) signal(list []info, kill bool) (fds []unix.PollFd) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range list {
		h, ok := open(p.identity)
		if !ok {
			continue
		}
		if kill {
			h.signal(syscall.SIGKILL)
		} else if a.first(p.identity) {
			h.signal(syscall.SIGTERM)
			h.signal(syscall.SIGCONT) // a stopped process sees TERM only then
		}
		if h.fd >= 0 {
			fds = append(fds, unix.PollFd{Fd: int32(h.fd), Events: unix.POLLIN}) //nolint:gosec // a descriptor
		}
	}
	return fds
}

// handle is one process that cannot turn into another one between look and signal. Kernels before
// 5.3 and some seccomp profiles have no pidfd: fd is -1 then and the pid must do.
type handle struct{ fd, pid int }

// open returns a handle of exactly this process; false when it has ended.
func open(id identity) (handle, bool) {
	fd, err := unix.PidfdOpen(id.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return handle{}, false
	}
	if err != nil {
		fd = -1
	}
	if p, ok := stat(id.pid); !ok || p.identity != id {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return handle{}, false
	}
	return handle{fd: fd, pid: id.pid}, true
}

// signal ignores errors: who cannot be signalled is reported as a survivor.
func (h handle) signal(s syscall.Signal) {
	if h.fd >= 0 {
		_ = unix.PidfdSendSignal(h.fd, s, nil, 0)
		return
	}
	_ = unix.Kill(h.pid, s)
}

// lookAgain is the pace where ends cannot be waited for.
const lookAgain = 10 * time.Millisecond

// await returns when one of the processes has ended (the others are looked at again: they may have
// forked meanwhile), or at the time until. It closes the descriptors.
func await(fds []unix.PollFd, until time.Time) {
	if len(fds) == 0 {
		time.Sleep(lookAgain)
	}
	for len(fds) > 0 {
		left := time.Until(until)
		if left <= 0 {
			break
		}
		_, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	for _, f := range fds {
		_ = unix.Close(int(f.Fd))
	}
}

func survivors(list []info) error {
	var pids []string
	for _, p := range list {
		pids = append(pids, fmt.Sprint(p.pid))
	}
	return fmt.Errorf("processes %s did not end after KILL: they run as another user or hang in the kernel", strings.Join(pids, ", "))
}
