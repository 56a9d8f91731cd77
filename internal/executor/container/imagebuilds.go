package container

import (
	"encoding/json"
	"fmt"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// imageBuilds is the value of security_opt's seccomp for jobs that build images without an engine, by Buildah and its like. It means
// something with Docker only: what is needed beyond its own profile. Podman's own has it.
const imageBuilds = "image-builds"

// buildsSeccomp is Docker's own profile, and beyond it the calls by which root of a container makes namespaces of users, mounts
// and host names, and mounts again there what is mounted. No namespace of networks or control groups can be made, and no file system
// be mounted: what user namespaces open of the kernel to attackers, packet filters and file systems above all, stays shut.
func buildsSeccomp() (string, error) {
	p := profiles.DefaultProfile()
	allow := func(names []string, args ...specs.LinuxSeccompArg) {
		p.Syscalls = append(p.Syscalls, &profiles.Syscall{LinuxSyscall: specs.LinuxSyscall{Names: names, Action: specs.ActAllow, Args: args}})
	}
	masked := func(index uint, mask, value uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual}
	}
	// clone3, whose flags cannot be looked at, stays not implemented: who has called it takes clone then.
	allow([]string{"clone"}, masked(0, unix.CLONE_NEWNET|unix.CLONE_NEWCGROUP, 0))
	allow([]string{"unshare"}, masked(0, unix.CLONE_NEWNET|unix.CLONE_NEWCGROUP|unix.CLONE_NEWTIME, 0))
	// With one of these flags mount(2) changes what is mounted, or mounts it elsewhere, whatever else it is given.
	for _, flag := range []uint64{unix.MS_BIND, unix.MS_REMOUNT, unix.MS_PRIVATE, unix.MS_SLAVE, unix.MS_UNBINDABLE} {
		allow([]string{"mount"}, masked(3, flag, flag))
	}
	allow([]string{"umount", "umount2", "setns", "sethostname", "setdomainname"})
	// The newer calls for all that stay refused, and as if they were not there: who has called them takes mount then.
	missing := uint(unix.ENOSYS)
	p.Syscalls = append(p.Syscalls, &profiles.Syscall{LinuxSyscall: specs.LinuxSyscall{
		Names: []string{"fsconfig", "fsmount", "fsopen", "fspick", "mount_setattr", "move_mount", "open_tree"}, Action: specs.ActErrno, ErrnoRet: &missing,
	}, Excludes: &profiles.Filter{Caps: []string{"CAP_SYS_ADMIN"}}})
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("the seccomp profile for builds of images: %w", err)
	}
	return string(text), nil
}
