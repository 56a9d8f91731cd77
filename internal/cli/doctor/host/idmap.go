package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// NewUIDMap checks the program newuidmap, with which an ordinary user gives a user namespace its subordinate ids.
func NewUIDMap(m Machine) finding.Check { return idMap(m, "newuidmap", "setuid", unix.CAP_SETUID) }

// NewGIDMap checks the program newgidmap.
func NewGIDMap(m Machine) finding.Check { return idMap(m, "newgidmap", "setgid", unix.CAP_SETGID) }

func idMap(m Machine, program, capability string, number int) finding.Check {
	return finding.Check{Name: program, Look: func(context.Context) finding.Result {
		bad := finding.Result{Severity: finding.Failure, Why: "a rootless engine gives containers their user ids with it, and none starts without"}
		path := m.Find(program)
		if path == "" {
			bad.What = fmt.Sprintf("there is no program %s", program)
			if bad.Mend = m.Install("uidmap", "shadow-utils", "shadow", "shadow", "shadow-uidmap"); bad.Mend == nil {
				bad.Advice = "install the package with newuidmap and newgidmap (uidmap or shadow-utils)"
			}
			return bad
		}
		i, err := os.Stat(m.at(path))
		if err != nil {
			return finding.Skip("%s cannot be looked at: %v", path, err)
		}
		if s, ok := i.Sys().(*syscall.Stat_t); ok && s.Uid == 0 && i.Mode()&os.ModeSetuid != 0 {
			return finding.OK("%s is setuid root", path)
		}
		if hasCapability(m.at(path), number) {
			return finding.OK("%s has the capability %s", path, capability)
		}
		bad.What = fmt.Sprintf("%s has neither the file capability cap_%s nor setuid root", path, capability)
		if m.Find("setcap") != "" {
			bad.Mend = []finding.Command{m.AsRoot("setcap", "cap_"+capability+"=ep", path)}
		} else {
			bad.Mend = []finding.Command{m.AsRoot("chown", "root:", path), m.AsRoot("chmod", "u+s", path)}
		}
		return bad
	}}
}

// hasCapability reads a file's capabilities (capabilities(7), "File capabilities"; linux/capability.h, struct vfs_cap_data).
func hasCapability(path string, number int) bool {
	var b [24]byte
	n, err := unix.Getxattr(path, "security.capability", b[:])
	if err != nil || n < 12 {
		return false
	}
	effective := binary.LittleEndian.Uint32(b[0:])&1 != 0
	permitted := binary.LittleEndian.Uint32(b[4:])
	return effective && permitted&(1<<number) != 0
}
