package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestIDMap(t *testing.T) {
	t.Parallel()
	const none, with = "has neither the file capability cap_setuid nor setuid root", "usr/sbin/setcap"
	want(t, host.NewUIDMap(machine(t, files{"etc/os-release": "ID=debian"})), finding.Failure, "there is no program newuidmap", "apt-get install -y uidmap")
	want(t, host.NewGIDMap(machine(t, nil)), finding.Failure, "there is no program newgidmap", "install the package")
	want(t, host.NewUIDMap(machine(t, files{"usr/bin/newuidmap": ""})), finding.Failure, none, "chown root: /usr/bin/newuidmap && chmod u+s /usr/bin/newuidmap")
	m := machine(t, files{"usr/bin/newuidmap": "", "usr/bin/newgidmap": "", with: ""})
	want(t, host.NewUIDMap(m), finding.Failure, none, "setcap cap_setuid=ep /usr/bin/newuidmap")
	if os.Getuid() != 0 {
		t.Skip("only root may give programs rights")
	}
	path := func(p string) string { return filepath.Join(m.Root, "usr/bin", p) }
	// The effective flag, version 2; permitted: cap_setgid is 6, cap_setuid 7.
	for program, capability := range map[string]byte{"newuidmap": 1 << 7, "newgidmap": 1 << 7} {
		if err := unix.Setxattr(path(program), "security.capability", []byte{1, 0, 0, 2, capability, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0); err != nil {
			t.Fatal("no file capabilities in this file system: ", err)
		}
	}
	want(t, host.NewUIDMap(m), finding.Fine, "capability setuid", "")
	want(t, host.NewGIDMap(m), finding.Failure, "cap_setgid", "setcap cap_setgid=ep /usr/bin/newgidmap")
	if err := os.Chmod(path("newgidmap"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	want(t, host.NewGIDMap(m), finding.Fine, "setuid root", "")
}
