package host

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/executor/container/nestedneeds"
)

// usernsFile keeps the settings for later starts of the machine.
const usernsFile = "/etc/sysctl.d/99-skerry-userns.conf"

// UserNamespaces checks that the kernel lets ordinary users have namespaces, and mount in them, as engines of jobs do.
func UserNamespaces(m Machine) finding.Check {
	return finding.Check{Name: "userns", Look: func(context.Context) finding.Result {
		bad := finding.Result{Severity: finding.Failure, Why: "the engines that jobs get (nested) run in user namespaces, and do not come up without"}
		if release := m.word("/proc/sys/kernel/osrelease"); !nestedneeds.EnoughKernel(release) {
			bad.What = fmt.Sprintf("Linux %s is older than %s, from which on users may mount overlays", release, nestedneeds.KernelWords())
			bad.Advice = "start a newer kernel"
			if strings.Contains(release, ".el") { // which gets what is newer without its number
				bad.Severity = finding.Warning
			}
			return bad
		}
		var off, nix []string
		var keep string
		for _, s := range nestedneeds.Settings() {
			if value := m.word(s.Path()); !s.Allows(value) {
				off = append(off, fmt.Sprintf("%s is %s", s.Name, value))
				nix = append(nix, fmt.Sprintf("%q = %s;", s.Name, s.Value))
				bad.Mend = append(bad.Mend, m.AsRoot("sysctl", "-w", s.Name+"="+s.Value))
				keep += "echo " + s.Name + "=" + s.Value + "; "
			}
		}
		if len(off) == 0 {
			return finding.OK("users may have namespaces")
		}
		bad.What = strings.Join(off, ", ") + ": ordinary users may not have user namespaces"
		if m.NixOS() {
			bad.Mend, bad.Advice = nil, "boot.kernel.sysctl = { "+strings.Join(nix, " ")+" }; in the machine's configuration, then nixos-rebuild switch"
			return bad
		}
		bad.Mend = append(bad.Mend, m.AsRoot("sh", "-c", "{ "+keep+"} >"+usernsFile))
		return bad
	}}
}
