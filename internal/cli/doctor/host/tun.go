package host

import "gitlab.com/skerry/skerry/internal/cli/doctor/finding"

// Tun checks /dev/net/tun, through which a rootless engine's containers reach a network.
func Tun(m Machine, a Account) finding.Check {
	return device(m, a, "tun", "/dev/net/tun", "tun", "containers of a rootless engine reach a network of their own through it, and do not start without")
}
