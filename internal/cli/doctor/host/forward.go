package host

import (
	"context"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

const forward = "/proc/sys/net/ipv4/ip_forward"

// IPForward checks that the kernel passes packets on between a rootful engine's networks and the world.
func IPForward(m Machine) finding.Check {
	return finding.Check{Name: "ip_forward", Look: func(context.Context) finding.Result {
		switch m.word(forward) {
		case "1":
			return finding.OK("the kernel passes on packets of containers")
		case "":
			return finding.Skip("%s cannot be read", forward)
		}
		return finding.Result{
			Severity: finding.Failure, What: "net.ipv4.ip_forward is off",
			Why: "jobs in containers reach nothing outside: no clone, no download",
			Mend: []finding.Command{
				m.AsRoot("sysctl", "-w", "net.ipv4.ip_forward=1"),
				m.AsRoot("sh", "-c", "echo net.ipv4.ip_forward=1 >/etc/sysctl.d/99-skerry.conf"),
			},
		}
	}}
}
