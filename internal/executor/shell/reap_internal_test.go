package shell

import (
	"errors"
	"io"
	"os/exec"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// child starts a process that lives until the returned pipe is closed.
func child(t *testing.T) (pid, pidfd int, end io.Closer, wait func() error) {
	t.Helper()
	pidfd = -1
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	end, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, pidfd, end, cmd.Wait
}

func TestReapLeavesNoZombieAndNoThread(t *testing.T) {
	const children = 40
	threads := pprof.Lookup("threadcreate").Count()
	var reaping sync.WaitGroup
	var ends []io.Closer
	var pids []int
	for range children {
		pid, fd, end, _ := child(t)
		if fd < 0 {
			t.Fatal("this kernel has no pidfds")
		}
		pids, ends = append(pids, pid), append(ends, end)
		reaping.Go(func() { reap(fd, func() error { t.Error("the child was not polled"); return nil }) })
	}
	for _, end := range ends {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	}
	reaping.Wait()
	if made := pprof.Lookup("threadcreate").Count() - threads; made >= children/2 {
		t.Errorf("%d threads were made for %d children", made, children)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("process %d is still there, or its zombie: %v", pid, err)
		}
	}
}

func TestReapWithoutPidfd(t *testing.T) {
	t.Parallel()
	pid, fd, end, wait := child(t)
	if err := errors.Join(end.Close(), unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	reap(-1, wait)
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d is still there, or its zombie: %v", pid, err)
	}
}
