package seccomp

import (
	"crypto/sha256"
	"encoding/hex"

	"golang.org/x/sys/unix"
)

// Profile says which calls of the kernel are refused. Source: github.com/opencontainers/runtime-spec config-linux.md.
type Profile struct {
	DefaultAction string   `json:"defaultAction"`
	Architectures []string `json:"architectures,omitempty"`
	Syscalls      []Rule   `json:"syscalls"`
}

// Rule is what becomes of calls.
type Rule struct {
	Names    []string `json:"names"`
	Action   string   `json:"action"`
	ErrnoRet uint     `json:"errnoRet"`
	Args     []Arg    `json:"args,omitempty"` // empty: whatever they are
}

// Arg is what an argument of a call is compared with, in all of its 64 bits.
type Arg struct {
	Index uint   `json:"index"`
	Value uint64 `json:"value"`
	Two   uint64 `json:"valueTwo,omitempty"` // what is left when Value has masked the argument, for SCMP_CMP_MASKED_EQ
	Op    string `json:"op"`
}

// Nested is the profile of an engine of a job on a machine of an architecture (GOARCH). It refuses what no container has to do with: what is left beyond an engine's own profile is what user
// namespaces and mounts in them take. Where the disk is bounded, nothing of it is taken beforehand.
func Nested(arch string, bounded bool) Profile {
	const eperm, eafnosupport = uint(unix.EPERM), uint(unix.EAFNOSUPPORT)
	p := Profile{DefaultAction: "SCMP_ACT_ALLOW", Syscalls: []Rule{{
		Action: "SCMP_ACT_ERRNO", ErrnoRet: eperm,
		Names: []string{
			"acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module", "fanotify_init", "finit_module",
			"get_kernel_syms", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load",
			"kexec_load", "lookup_dcookie", "migrate_pages", "move_pages", "nfsservctl", "open_by_handle_at", "perf_event_open",
			"quotactl", "quotactl_fd", "query_module", "reboot", "request_key", "settimeofday", "stime",
			"swapoff", "swapon", "sysfs", "_sysctl", "syslog", "userfaultfd", "uselib", "ustat", "vhangup", "vm86", "vm86old",
		},
	}}}
	// The keyrings of a user are that user's in every namespace, and users of nested containers are users of the machine
	// where its engine is root: of them only what runtimes do for a session of their own is allowed (keyctl(2): JOIN_SESSION_KEYRING,
	// SETPERM, DESCRIBE).
	for _, other := range []Arg{{Value: 0, Op: "SCMP_CMP_EQ"}, {Value: 2, Op: "SCMP_CMP_EQ"}, {Value: 3, Op: "SCMP_CMP_EQ"}, {Value: 4, Op: "SCMP_CMP_EQ"}, {Value: 6, Op: "SCMP_CMP_GT"}} {
		p.Syscalls = append(p.Syscalls, Rule{Names: []string{"keyctl"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: eperm, Args: []Arg{other}})
	}
	// A socket to the machine's hypervisor belongs to no network namespace. The kernel looks at half of the register. A call of 32-bit
	// programs that hides its arguments (socketcall) is not reached, nor is it by the engines' own profiles.
	p.Syscalls = append(p.Syscalls, Rule{
		Names: []string{"socket", "socketpair"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: eafnosupport,
		Args: []Arg{{Value: 1<<32 - 1, Two: unix.AF_VSOCK, Op: "SCMP_CMP_MASKED_EQ"}},
	})
	if bounded {
		p.Syscalls = append(p.Syscalls, noPreallocation()...)
	}
	switch arch {
	case "amd64":
		p.Architectures = []string{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}
	case "arm64":
		p.Architectures = []string{"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}
	}
	return p
}

// noPreallocation refuses to take room of a file system without writing to it, which takes no time: all that is free would be gone before anybody has
// looked. Programs know file systems that cannot do it, and write then. Holes can be made. Source: fallocate(2); linux/falloc.h, FS_IOC_RESVSP and its like, also as 32-bit programs
// have them.
func noPreallocation() []Rule {
	const eopnotsupp, low = uint(unix.EOPNOTSUPP), 1<<32 - 1
	frees := uint64(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_COLLAPSE_RANGE | unix.FALLOC_FL_INSERT_RANGE)
	rules := []Rule{{Names: []string{"fallocate"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: eopnotsupp, Args: []Arg{{Index: 1, Value: frees, Op: "SCMP_CMP_MASKED_EQ"}}}}
	for _, request := range []uint64{0x40305828, 0x4030582a, 0x40305839, 0x402c5828, 0x402c582a, 0x402c5839} {
		rules = append(rules, Rule{Names: []string{"ioctl"}, Action: "SCMP_ACT_ERRNO", ErrnoRet: eopnotsupp, Args: []Arg{{Index: 1, Value: low, Two: request, Op: "SCMP_CMP_MASKED_EQ"}}})
	}
	return rules
}

// FileName is the name of the file with a profile, given as it is in the file. It tells profiles apart.
func FileName(profile []byte) string {
	sum := sha256.Sum256(profile)
	return "seccomp-" + hex.EncodeToString(sum[:6]) + ".json"
}
