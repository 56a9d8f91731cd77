package seccomp

import (
	"encoding/json"
	"fmt"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Builds is the profile for jobs that build images without an engine, by Buildah and its like, as the JSON that Docker's API takes: what Docker is
// built with, and beyond it what root of a container needs for namespaces of users, mounts and host names, and for mounts there of what is mounted
// already.
func Builds() (string, error) {
	p := profiles.DefaultProfile()
	p.Syscalls = append(p.Syscalls, buildsRules()...)
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("the seccomp profile for builds of images: %w", err)
	}
	return string(text), nil
}

// buildsRules are the calls by which root of a container makes namespaces of users, mounts and host names, and mounts again there what
// is mounted. No other namespace can be made, above all no network, whose root could get at the kernel's packet filters and
// schedulers; and no file system can be mounted. What is compared are all 64 bits of an argument, and what is not known is refused.
func buildsRules() (rules []*profiles.Syscall) {
	add := func(f filters, names []string, args ...specs.LinuxSeccompArg) {
		rules = append(rules, &profiles.Syscall{
			LinuxSyscall: specs.LinuxSyscall{Names: names, Action: specs.ActAllow, Args: args}, Includes: f.includes, Excludes: f.excludes,
		})
	}
	s390 := &profiles.Filter{Arches: []string{"s390", "s390x"}}
	// clone3, whose flags cannot be looked at, stays not implemented: who has called it takes clone then.
	const others = unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWPID
	add(filters{excludes: s390}, []string{"clone"}, masked(0, others, 0))
	add(filters{includes: s390}, []string{"clone"}, masked(1, others, 0))
	const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWUTS
	add(filters{}, []string{"unshare"}, masked(0, ^uint64(namespaces|unix.CLONE_FS|unix.CLONE_FILES|unix.CLONE_SYSVSEM), 0))
	add(filters{}, []string{"setns"}, masked(1, ^uint64(unix.CLONE_NEWUSER|unix.CLONE_NEWNS), 0)) // each `podman` after the first, with 0
	// With MS_BIND mount(2) mounts elsewhere what is mounted, or with MS_REMOUNT as well changes how, whatever else it is given.
	add(filters{}, []string{"mount"}, masked(3, unix.MS_BIND, unix.MS_BIND))
	// What is mounted is kept from spreading by this flag and no other. The upper half is compared whole, since the kernel throws it
	// away where it is MS_MGC_VAL, which has the flag, too: what is left of such a call mounts a file system.
	add(filters{}, []string{"mount"}, masked(3, ^uint64(unix.MS_REC|unix.MS_SILENT), unix.MS_PRIVATE))
	add(filters{}, []string{"umount2", "sethostname"})
	// The newer calls for all that stay refused, and as if they were not there: who has called them takes mount then.
	missing := uint(unix.ENOSYS)
	return append(rules, &profiles.Syscall{LinuxSyscall: specs.LinuxSyscall{
		Names: []string{"fsconfig", "fsmount", "fsopen", "fspick", "mount_setattr", "move_mount", "open_tree"}, Action: specs.ActErrno, ErrnoRet: &missing,
	}, Excludes: &profiles.Filter{Caps: []string{"CAP_SYS_ADMIN"}}})
}

// filters say where a rule counts; nil: everywhere.
type filters struct{ includes, excludes *profiles.Filter }

// masked compares the bits of an argument that mask names.
func masked(index uint, mask, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual}
}
