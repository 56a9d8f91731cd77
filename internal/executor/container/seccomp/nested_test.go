package seccomp_test

import (
	"slices"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/seccomp"
)

// TestNoKeysOfOthers has users of nested containers, who have the numbers of users of the machine, do with keyrings what
// runtimes do, and nothing more, also where the upper half of a register is not what the kernel looks at.
func TestNoKeysOfOthers(t *testing.T) {
	t.Parallel()
	refused := func(op uint64) bool {
		for _, r := range seccomp.Nested("amd64", true).Syscalls {
			if !slices.Contains(r.Names, "keyctl") {
				continue
			}
			hit := true
			for _, a := range r.Args {
				hit = hit && a.Index == 0 && (a.Op == "SCMP_CMP_EQ" && op == a.Value || a.Op == "SCMP_CMP_GT" && op > a.Value)
			}
			if hit {
				return true
			}
		}
		return false
	}
	const join, setperm, describe = 1, 5, 6
	for op := range uint64(40) {
		if want := op != join && op != setperm && op != describe; refused(op) != want || !refused(1<<32|op) {
			t.Errorf("keyctl operation %d is refused: %v, want %v", op, refused(op), want)
		}
	}
}

// TestNoSocketsToTheHypervisor has the kernel's view of the argument decide, which is its lower half.
func TestNoSocketsToTheHypervisor(t *testing.T) {
	t.Parallel()
	const vsock = 40
	for family, want := range map[uint64]bool{1: false, 2: false, 10: false, 16: false, 17: false, vsock: true, 1<<32 | vsock: true, 1<<32 | 1: false} {
		refused := false
		for _, r := range seccomp.Nested("amd64", true).Syscalls {
			if a := r.Args; slices.Contains(r.Names, "socket") && len(a) == 1 && a[0].Index == 0 && a[0].Op == "SCMP_CMP_MASKED_EQ" {
				refused = refused || family&a[0].Value == a[0].Two
			}
		}
		if refused != want {
			t.Errorf("a socket of the family %#x is refused: %v, want %v", family, refused, want)
		}
	}
}

// TestNothingIsTakenBeforehand has jobs whose disk is bounded occupy it by writing alone, and give it back as they like.
func TestNothingIsTakenBeforehand(t *testing.T) {
	t.Parallel()
	refuses := func(bounded bool, call string, arg uint64) bool {
		return slices.ContainsFunc(seccomp.Nested("amd64", bounded).Syscalls, func(r seccomp.Rule) bool {
			return slices.Contains(r.Names, call) && len(r.Args) == 1 && r.Args[0].Index == 1 && r.Args[0].Op == "SCMP_CMP_MASKED_EQ" && arg&r.Args[0].Value == r.Args[0].Two
		})
	}
	const keepSize, punchHole, collapse, zero, insert, unshare = 1, 2, 8, 16, 32, 64
	for mode, want := range map[uint64]bool{
		0: true, keepSize: true, zero: true, zero | keepSize: true, unshare: true, 1 << 32: true, punchHole | keepSize: false, collapse: false, insert: false,
	} {
		if refuses(true, "fallocate", mode) != want || refuses(false, "fallocate", mode) {
			t.Errorf("fallocate with the mode %d is refused: %v, want %v", mode, !want, want)
		}
	}
	const reserve, reserveOld, unreserve, terminal = 0x40305828, 0x402c582a, 0x4030582b, 0x5401
	for request, want := range map[uint64]bool{reserve: true, 1<<32 | reserve: true, reserveOld: true, unreserve: false, terminal: false} {
		if refuses(true, "ioctl", request) != want || refuses(false, "ioctl", request) {
			t.Errorf("ioctl %#x is refused: %v, want %v", request, !want, want)
		}
	}
}
