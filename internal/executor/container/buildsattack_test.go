package container_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/executor"
)

// attempt is a call of the kernel that a job makes as root of a user namespace and a mount namespace of its own.
type attempt struct {
	name string
	nr   int
	args string // Perl's, after the number
	want unix.Errno
}

// attempts are what attacks on the kernel begin with. The numbers in them are those of Linux's headers.
func attempts() []attempt {
	const eperm, enosys = unix.EPERM, unix.ENOSYS
	all := []attempt{
		{"clone3", unix.SYS_CLONE3, "$zero, 64", enosys},
		{"clone with a network", unix.SYS_CLONE, fmt.Sprintf("%d, 0, 0, 0, 0", unix.CLONE_NEWNET|int(unix.SIGCHLD)), eperm},
		{"a network by setns", unix.SYS_SETNS, fmt.Sprintf("fileno(NET), %d", unix.CLONE_NEWNET), eperm},
		{"a network by setns of no kind", unix.SYS_SETNS, "fileno(NET), 0", eperm}, // which the kernel refuses, not the filter
		{"fsopen", unix.SYS_FSOPEN, "$tmpfs, 0", enosys},
		{"fsconfig", unix.SYS_FSCONFIG, "0, 6, 0, 0, 0", enosys},
		{"fsmount", unix.SYS_FSMOUNT, "0, 0, 0", enosys},
		{"fspick", unix.SYS_FSPICK, "-100, $mnt, 0", enosys},
		{"open_tree", unix.SYS_OPEN_TREE, "-100, $mnt, 1", enosys},
		{"move_mount", unix.SYS_MOVE_MOUNT, "-100, $mnt, -100, $mnt, 0", enosys},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, "-100, $mnt, 0, $zero, 32", enosys},
		{"pivot_root", unix.SYS_PIVOT_ROOT, "$mnt, $mnt", eperm},
		{"bpf", unix.SYS_BPF, "0, $zero, 64", eperm},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, "$zero, 0, -1, -1, 0", eperm},
		{"userfaultfd", unix.SYS_USERFAULTFD, "0", eperm},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, "1, $zero", eperm},
		{"keyctl", unix.SYS_KEYCTL, "0, -3, 0, 0, 0", eperm},
		{"add_key", unix.SYS_ADD_KEY, "$user, $user, $user, 4, -3", eperm},
		{"request_key", unix.SYS_REQUEST_KEY, "$user, $user, 0, 0", eperm},
		{"fanotify_init", unix.SYS_FANOTIFY_INIT, "0, 0", eperm},
		{"quotactl", unix.SYS_QUOTACTL, "0, $mnt, 0, 0", eperm},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, "-100, $zero, 0", eperm},
		{"setdomainname", unix.SYS_SETDOMAINNAME, "$user, 4", eperm},
	}
	for name, flag := range map[string]uint64{
		"a network": unix.CLONE_NEWNET, "control groups": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME, "processes": unix.CLONE_NEWPID, "IPC": unix.CLONE_NEWIPC,
		"users and a network": unix.CLONE_NEWUSER | unix.CLONE_NEWNET, "a network, hidden above": unix.CLONE_NEWNET | 1<<32,
	} {
		all = append(all, attempt{"unshare of " + name, unix.SYS_UNSHARE, fmt.Sprint(flag), eperm})
	}
	// MS_MGC_VAL, in the upper half, is thrown away by the kernel: what looks like another kind of mount is a file system then.
	for name, flags := range map[string]uint64{
		"": 0, ", with a magic number": 0xC0ED0000, ", read only": unix.MS_RDONLY, " anew": unix.MS_REMOUNT, " elsewhere": unix.MS_MOVE, ", shared": unix.MS_SHARED,
		", private and shared": unix.MS_PRIVATE | unix.MS_SHARED, ", private and elsewhere": unix.MS_PRIVATE | unix.MS_MOVE,
	} {
		for _, kind := range []string{"tmpfs", "overlay", "proc"} {
			all = append(all, attempt{"a mount of " + kind + name, unix.SYS_MOUNT, fmt.Sprintf("$%s, $mnt, $%[1]s, %d, 0", kind, flags), eperm})
		}
	}
	return all
}

// asPerl is a program in Perl, which base images of Debian have: it makes the calls, and then asks the kernel over netlink for a
// table of nf_tables, a device and a queue of packets.
func asPerl(all []attempt) string {
	var b strings.Builder
	b.WriteString(`my ($zero, $mnt, $user) = ("\0" x 256, "/mnt\0", "user\0"); my ($tmpfs, $overlay, $proc) = ("tmpfs\0", "overlay\0", "proc\0"); open(NET, "<", "/proc/self/ns/net"); $| = 1;` + "\n")
	for _, a := range all {
		fmt.Fprintf(&b, "print '%s: ', (syscall(%d, %s) < 0 ? $!+0 : 'done'), \"\\n\";\n", a.name, a.nr, a.args)
	}
	// A message: its header, the one of its kind, and attributes. Its type is nf_tables' subsystem (10) and NFT_MSG_NEWTABLE (0),
	// RTM_NEWLINK (16) or RTM_NEWQDISC (36). The answer is an error's number.
	b.WriteString(`sub ask { my ($name, $protocol, $type, $body) = @_;
	socket(my $s, 16, 3, $protocol) or do { print "$name: ", $!+0, "\n"; return };
	send($s, pack("LSSLL", 16 + length $body, $type, 0x0605, 1, 0) . $body, 0) or do { print "$name: ", $!+0, "\n"; return };
	recv($s, my $answer, 8192, 0); my ($length, $kind, $flags, $seq, $pid, $error) = unpack("LSSLLl", $answer);
	print "$name: ", ($kind == 2 ? -$error || "done" : "answered"), "\n" }
ask("nf_tables", 12, 10 << 8, pack("CCn", 2, 0, 0) . pack("SSA8", 12, 1, "evil\0"));
ask("a device", 0, 16, pack("CCSlLL", 0, 0, 0, 0, 0, 0) . pack("SSa8", 12, 3, "evil") . pack("SSSSa8", 16, 18, 12, 1, "dummy"));
ask("a queue", 0, 36, pack("CCSlLLL", 0, 0, 0, 1, 0, 0xffffffff, 0) . pack("SSa8", 12, 1, "pfifo"));
`)
	return b.String()
}

// testBuildsConfined tries what of user namespaces stays shut to a job with default options on Docker.
func testBuildsConfined(t *testing.T, r *run) {
	t.Helper()
	all := attempts()
	want := map[string]string{}
	for _, a := range all {
		want[a.name] = fmt.Sprint(int(a.want))
	}
	for _, name := range []string{"nf_tables", "a device", "a queue"} {
		want[name] = fmt.Sprint(int(unix.EPERM))
	}
	r.script(executor.Build, "printf %s '"+base64.StdEncoding.EncodeToString([]byte(asPerl(all)))+"' | base64 -d > /tmp/attack")
	got := map[string]string{}
	for line := range strings.Lines(r.script(executor.Build, "unshare -Urm perl /tmp/attack")) {
		name, answer, _ := strings.Cut(strings.TrimSpace(line), ": ")
		got[name] = answer
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what a job's user namespace is answered (-want +got; numbers are errors):\n%s", diff)
	}
	for _, refused := range []string{
		"unshare -Urm mount --bind /proc /mnt", "unshare -Urm umount /proc/kcore", "unshare -Urm mount -o remount,bind,rw /proc/sys", // what the engine hides
	} {
		if got := r.script(executor.Build, "if "+refused+" 2>/dev/null; then echo done; else echo refused; fi"); got != "refused" {
			t.Errorf("%s is not refused", refused)
		}
	}
	if got := r.script(executor.Build, "unshare -Urm mount --bind /srv /mnt && unshare -Ur true && echo done"); got != "done" {
		t.Errorf("what builders need is refused: %q", got)
	}
}
