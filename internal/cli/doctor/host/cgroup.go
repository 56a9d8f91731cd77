package host

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// Cgroup checks that limits of a rootless engine's containers can hold: the account's service manager has the controllers,
// wanted by name ("cpu", "memory"). Without systemd only the
// kernel's version of control groups is looked at.
func Cgroup(m Machine, a Account, wanted []string) finding.Check {
	return finding.Check{Name: "cgroup", About: "user " + a.Name, Look: func(context.Context) finding.Result {
		bad := finding.Result{Severity: finding.Warning, Why: "limits of jobs (memory, cpus, number of processes) do not hold, and one job can take the whole machine"}
		if !m.has("/sys/fs/cgroup/cgroup.controllers") {
			bad.What = "the machine has control groups of version 1, which are not for ordinary users"
			bad.Advice = "boot the kernel with systemd.unified_cgroup_hierarchy=1"
			if m.Find("grubby") != "" {
				bad.Mend = []finding.Command{m.AsRoot("grubby", "--update-kernel=ALL", "--args=systemd.unified_cgroup_hierarchy=1")}
				bad.Advice = "reboot afterwards"
			}
			return bad
		}
		if !m.Systemd() {
			return finding.Skip("without systemd it is not known what user %s may limit", a.Name)
		}
		dir := fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%d.slice/user@%d.service", a.UID, a.UID)
		if !m.has(dir) {
			return finding.Skip("user %s has no service manager just now: see linger", a.Name)
		}
		has := strings.Fields(m.word(path.Join(dir, "cgroup.controllers")))
		missing := slices.DeleteFunc(slices.Clone(wanted), func(c string) bool { return slices.Contains(has, c) })
		if len(missing) == 0 {
			return finding.OK("user %s has the controllers %s", a.Name, strings.Join(wanted, ", "))
		}
		bad.What = fmt.Sprintf("user %s has no control over %s", a.Name, strings.Join(missing, ", "))
		const dropIn = "/etc/systemd/system/user@.service.d"
		bad.Mend = []finding.Command{
			m.AsRoot("mkdir", "-p", dropIn),
			m.AsRoot("sh", "-c", `printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >`+dropIn+"/delegate.conf"),
			m.AsRoot("systemctl", "daemon-reload"),
		}
		bad.Advice = fmt.Sprintf("it holds from the user's next login on, or from `systemctl restart user@%d.service`, which ends all that the user runs", a.UID)
		return bad
	}}
}
