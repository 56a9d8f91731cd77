package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestLinger(t *testing.T) {
	t.Parallel()
	want(t, host.Linger(machine(t, files{"var/lib/systemd/linger/other": ""}), ci(), finding.Failure), finding.Failure, "user ci does not linger", "loginctl enable-linger ci")
	want(t, host.Linger(machine(t, nil), ci(), finding.Warning), finding.Warning, "user ci does not linger", "loginctl enable-linger ci")
	want(t, host.Linger(machine(t, files{"var/lib/systemd/linger/ci": ""}), ci(), finding.Failure), finding.Fine, "user ci", "")
}
