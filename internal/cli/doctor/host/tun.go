package host

import (
	"context"
	"fmt"
	"os"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/executor/container/nestedneeds"
)

// Tun checks /dev/net/tun, through which a rootless engine's containers reach a network.
func Tun(m Machine, a Account) finding.Check {
	return device(m, a, "tun", nestedneeds.Tun, "tun", "containers of a rootless engine reach a network of their own through it, and do not start without")
}

// NestedTun checks it for engines of jobs, whose users are no users of the machine: everybody has to be able to open it.
func NestedTun(m Machine) finding.Check {
	return finding.Check{Name: "tun", About: "engines of jobs", Look: func(context.Context) finding.Result {
		bad := finding.Result{Severity: finding.Failure, Why: "the engines that jobs get (nested) have it as a user without rights, and do not come up without"}
		open := m.AsRoot("chmod", fmt.Sprintf("%04o", nestedneeds.TunMode), nestedneeds.Tun)
		i, err := os.Stat(m.at(nestedneeds.Tun))
		switch {
		case err == nil && i.Mode().Perm()&0o006 == 0o006:
			return finding.OK("every user may use %s", nestedneeds.Tun)
		case err == nil:
			bad.What = fmt.Sprintf("not every user may read and write %s (mode %04o)", nestedneeds.Tun, i.Mode().Perm())
			bad.Mend = []finding.Command{open}
		case m.InContainer():
			bad.What, bad.Advice = "there is no "+nestedneeds.Tun, "start this container with --device "+nestedneeds.Tun
		default:
			bad.What, bad.Mend = "there is no "+nestedneeds.Tun, []finding.Command{m.AsRoot("modprobe", "tun"), open}
		}
		return bad
	}}
}
