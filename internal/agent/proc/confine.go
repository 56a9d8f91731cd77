package proc

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errNotConfined is where no filter of system calls is known for the machine.
var errNotConfined = fmt.Errorf("processes cannot be kept from sockets on %s machines: %w", runtime.GOARCH, errors.ErrUnsupported)

// Confine keeps the processes that are started from now on, and all that they start, from making unix sockets, and from
// looking into this process and into what else an engine may start in this place: what those could connect to is for them alone.
// Root, whom most of them run as, is no exception, as long as the place has not more capabilities than containers usually have. It
// is for processes that need no such sockets, and is called before the first is started.
//
// A thread gets a filter of system calls, which its children have, too, and no other thread. It has one capability less than the
// others, which is enough for nobody to be looked into who has it. Source: seccomp(2), __ptrace_may_access in Linux's
// kernel/ptrace.c for what PR_SET_DUMPABLE has to do with it, and cap_ptrace_access_check in security/commoncap.c.
func (r *Reaper) Confine() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep processes from the agent: %w", err)
	}
	forks, ready := make(chan func()), make(chan error)
	r.ended.Add(1)
	go func() {
		defer r.ended.Done()
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := filterThread()
		ready <- err
		for err == nil {
			select {
			case fork := <-forks:
				fork()
			case <-r.quit:
				return
			}
		}
	}()
	if err := <-ready; err != nil {
		return fmt.Errorf("keep processes from sockets: %w", err)
	}
	r.forks = forks
	return nil
}

// onThread runs fork on the thread whose children are confined, if they are to be.
func (r *Reaper) onThread(fork func()) {
	if r.forks == nil {
		fork()
		return
	}
	done := make(chan struct{})
	select {
	case r.forks <- func() { defer close(done); fork() }:
		<-done
	case <-r.quit:
	}
}

// filterThread filters the system calls of the present thread.
func filterThread() error {
	filter, err := noSockets()
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil { // nor what is dropped comes back
		return err
	}
	if err := dropSetpcap(); err != nil {
		return fmt.Errorf("drop a capability: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]} //nolint:gosec // a few
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	runtime.KeepAlive(filter)
	return nil
}

// dropSetpcap takes CAP_SETPCAP from the present thread: containers usually have it, and nobody needs it in them.
func dropSetpcap() error {
	header, sets := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	const bit = uint32(1) << unix.CAP_SETPCAP
	sets[0].Effective &^= bit
	sets[0].Permitted &^= bit
	sets[0].Inheritable &^= bit
	return unix.Capset(&header, &sets[0])
}

// Where struct seccomp_data has what, on machines whose numbers begin with the lowest byte.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16
)

// x32 is set in the numbers of amd64's third set of system calls.
const x32 = 0x40000000

// noSockets is the filter: it denies unix sockets, what could make one in another way or take one from another process, and
// the system calls of other machines, whose numbers differ.
func noSockets() ([]unix.SockFilter, error) {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return nil, errNotConfined
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	end := func(with uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: with} }
	const is, least = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	deny := end(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	filter := []unix.SockFilter{
		load(dataArch), {Code: is, K: arch, Jt: 1}, deny,
		load(dataNumber), {Code: least, K: x32, Jf: 1}, deny,
	}
	for _, number := range []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD} {
		filter = append(filter, unix.SockFilter{Code: is, K: number, Jf: 1}, deny)
	}
	return append(filter,
		unix.SockFilter{Code: is, K: unix.SYS_SOCKET, Jt: 1}, end(unix.SECCOMP_RET_ALLOW),
		load(dataArg0), unix.SockFilter{Code: is, K: unix.AF_UNIX, Jf: 1}, deny, end(unix.SECCOMP_RET_ALLOW),
	), nil
}
