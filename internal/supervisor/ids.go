package supervisor

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setIDs gives the present thread its groups and users, for good: real, effective and saved ones.
func setIDs(uid, gid int, groups []uint32) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return fmt.Errorf("set groups: %w", errno)
	}
	g := uintptr(gid) //nolint:gosec // an id
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); errno != 0 {
		return fmt.Errorf("set gid %d: %w", gid, errno)
	}
	u := uintptr(uid) //nolint:gosec // an id
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, u, u, u); errno != 0 {
		return fmt.Errorf("set uid %d: %w", uid, errno)
	}
	return nil
}
