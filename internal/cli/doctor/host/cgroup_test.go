package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestCgroup(t *testing.T) {
	t.Parallel()
	const v2, own = "sys/fs/cgroup/cgroup.controllers", "sys/fs/cgroup/user.slice/user-61234.slice/user@61234.service/cgroup.controllers"
	const mend = `mkdir -p /etc/systemd/system/user@.service.d && ` +
		`sh -c 'printf '\''[Service]\nDelegate=cpu cpuset io memory pids\n'\'' >/etc/systemd/system/user@.service.d/delegate.conf' && systemctl daemon-reload`
	for name, c := range map[string]struct {
		files      files
		severity   finding.Severity
		what, mend string
	}{
		"version 1":            {nil, finding.Warning, "version 1", "systemd.unified_cgroup_hierarchy=1"},
		"version 1, grubby":    {files{"usr/sbin/grubby": ""}, finding.Warning, "version 1", "grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1"},
		"all":                  {files{v2: "cpu", own: "cpuset cpu io memory pids\n"}, finding.Fine, "pids, cpu", ""},
		"not cpu":              {files{v2: "cpu", own: "memory pids\n"}, finding.Warning, "user ci has no control over cpu", mend},
		"nothing":              {files{v2: "cpu", own: ""}, finding.Warning, "no control over pids, cpu", mend},
		"nobody has logged in": {files{v2: "cpu"}, finding.Skipped, "no service manager", ""},
		"without systemd":      {files{v2: "cpu", "run/systemd": "no"}, finding.Skipped, "without systemd", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t, c.files)
			_ = os.MkdirAll(filepath.Join(m.Root, "run/systemd/system"), 0o755) // not where there is a file in the way
			want(t, host.Cgroup(m, ci(), []string{"pids", "cpu"}), c.severity, c.what, c.mend)
		})
	}
}
