package proc_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/agent/proc"
	"gitlab.com/skerry/skerry/internal/stage"
)

// asConfined holds a socket that a process of the test is to connect to, and the one before it the process that has confined it.
const asConfined = "SKERRY_TEST_CONFINED"

// TestConfine has a process try what it is kept from. The process that confines another cannot be the test's, in which os/exec
// waits for children.
func TestConfine(t *testing.T) { //nolint:paralleltest // it is three processes
	switch role, socket, _ := strings.Cut(os.Getenv(asConfined), ":"); role {
	case "child":
		tryConfined(socket)
		return
	case "agent":
		runConfined(t, socket)
		return
	}
	dir, err := os.MkdirTemp("", "confine") // short: a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(exe, []string{exe, "-test.run=^TestConfine$", "-test.v"}, &os.ProcAttr{
		Env: []string{asConfined + "=agent:" + filepath.Join(dir, "socket")}, Files: []*os.File{nil, w, w},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close() // the process has it
	var said strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := r.Read(buffer)
		said.Write(buffer[:n])
		if err != nil {
			break
		}
	}
	if state, err := p.Wait(); err != nil || !state.Success() {
		t.Fatalf("%v, %v\n%s", state, err, said.String())
	}
	for _, want := range []string{
		"connect: operation not permitted", "abstract: operation not permitted", "memory: permission denied", "descriptor: permission denied", "attach: operation not permitted",
		"beside: permission denied", "ring: operation not permitted", "pair: ok", "inet: ok", "again: operation not permitted", "free: ok",
	} {
		if !strings.Contains(said.String(), want+"\n") {
			t.Errorf("it does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(said.String())
	}
}

// runConfined is the process that confines another.
func runConfined(t *testing.T, socket string) {
	t.Helper()
	beside := startBeside(t)
	r, err := proc.NewReaper(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Confine(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.NewGroup("test").Start(stage.Command{
		Path: exe, Args: []string{exe, "-test.run=^TestConfine$"}, Env: []string{asConfined + "=child:" + socket, "BESIDE=" + strconv.Itoa(beside)}, Stdout: os.Stdout, Stderr: os.Stdout,
	})
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("%+v, %v", exit, err)
	}
	for range 8 * runtime.GOMAXPROCS(0) { // no thread of this process's own is confined
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.Close() // nothing to lose
	}
	fmt.Fprintln(os.Stdout, "free: ok")
}

// startBeside starts a process that is not confined, with the capabilities that an engine gives what it starts in a container. It
// ends with this one.
func startBeside(t *testing.T) (pid int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = dropPtrace()
		}
		if err == nil {
			pid, err = syscall.ForkExec("/bin/cat", []string{"cat"}, &syscall.ProcAttr{Files: []uintptr{uintptr(p[0]), null.Fd(), null.Fd()}})
		}
		started <- err
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return pid
}

// tryConfined is the confined process.
func tryConfined(socket string) {
	say := func(what string, err error) {
		var errno syscall.Errno
		switch {
		case err == nil:
			fmt.Fprintln(os.Stdout, what+": ok")
		case errors.As(err, &errno):
			fmt.Fprintln(os.Stdout, what+":", errno)
		default:
			fmt.Fprintln(os.Stdout, what+":", err)
		}
	}
	runtime.LockOSThread()
	say("drop", dropPtrace()) // which containers do not have
	parent := os.Getppid()
	_, err := net.Dial("unix", socket)
	say("connect", err)
	_, err = net.Dial("unix", "@"+socket)
	say("abstract", err)
	_, err = os.OpenFile("/proc/"+strconv.Itoa(parent)+"/mem", os.O_RDWR, 0)
	say("memory", err)
	_, err = os.Readlink("/proc/" + strconv.Itoa(parent) + "/fd/1")
	say("descriptor", err)
	if _, err = os.OpenFile("/proc/"+os.Getenv("BESIDE")+"/mem", os.O_RDWR, 0); os.Getuid() != 0 {
		err = syscall.EACCES // without capabilities, and without Yama, only what makes itself undumpable is safe
	}
	say("beside", err)
	say("attach", unix.PtraceAttach(parent))
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	say("ring", errno)
	_, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	say("pair", err)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	say("inet", err)
	_, _, errno = unix.Syscall(unix.SYS_SOCKET, unix.AF_UNIX|1<<32, unix.SOCK_STREAM, 0) // of which the kernel takes the lower half
	say("again", errno)
}

// dropPtrace takes CAP_SYS_PTRACE from the present thread.
func dropPtrace() error {
	header, sets := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	const bit = uint32(1) << unix.CAP_SYS_PTRACE
	sets[0].Effective &^= bit
	sets[0].Permitted &^= bit
	sets[0].Inheritable &^= bit
	return unix.Capset(&header, &sets[0])
}
