package supervisor

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Confine takes every capability from this process but those of keep, from its bounding set too: what it starts
// cannot get them either. It wraps errors.ErrUnsupported in programs that are linked with C.
func Confine(keep []int) error {
	if err := limitBounding(keep, func(c int) error {
		_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0) //nolint:gosec // small
		return all(errno)
	}); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, kept [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for _, c := range keep {
		kept[c/32].Effective |= 1 << (c % 32)
	}
	for i := range kept {
		kept[i].Effective &= have[i].Permitted
		kept[i].Permitted = kept[i].Effective
	}
	header.Pid = 0
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&kept[0])), 0)
	if err := all(errno); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// all makes an error of what a call for all threads has returned.
func all(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP: // AllThreadsSyscall's answer with cgo
		return errors.ErrUnsupported
	default:
		return errno
	}
}
