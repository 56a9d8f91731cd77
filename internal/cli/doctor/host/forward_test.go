package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestIPForward(t *testing.T) {
	t.Parallel()
	const f = "proc/sys/net/ipv4/ip_forward"
	want(t, host.IPForward(machine(t, files{f: "1\n"})), finding.Fine, "", "")
	want(t, host.IPForward(machine(t, nil)), finding.Skipped, "cannot be read", "")
	want(t, host.IPForward(machine(t, files{f: "0\n"})), finding.Failure, "net.ipv4.ip_forward is off",
		"sysctl -w net.ipv4.ip_forward=1 && sh -c 'echo net.ipv4.ip_forward=1 >/etc/sysctl.d/99-skerry.conf'")
}
