package host

import (
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// Fuse checks /dev/fuse, for a rootless engine whose storage is fuse-overlayfs.
func Fuse(m Machine, a Account) finding.Check {
	return device(m, a, "fuse", "/dev/fuse", "fuse", "the engine's storage, fuse-overlayfs, needs it, and no container starts without")
}

// NeedsFuse reports whether an account's engine has been told to use fuse-overlayfs.
func (m Machine) NeedsFuse(a Account) bool {
	for _, file := range []string{a.Home + "/.config/containers/storage.conf", "/etc/containers/storage.conf"} {
		if !m.has(file) {
			continue
		}
		for _, l := range m.lines(file) {
			if key, value, _ := strings.Cut(l, "="); strings.TrimSpace(key) == "mount_program" && strings.Contains(value, "fuse-overlayfs") {
				return true
			}
		}
		return false // the first file counts
	}
	return false
}
