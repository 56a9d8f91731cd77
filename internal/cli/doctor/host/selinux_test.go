package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestSELinux(t *testing.T) {
	t.Parallel()
	const enforce, module = "sys/fs/selinux/enforce", "var/lib/selinux/targeted/active/modules/200/container"
	for text, enforcing := range map[string]bool{"": false, "0": false, "1": true} {
		if got := machine(t, files{enforce: text}).Enforcing(); got != enforcing {
			t.Errorf("%q: %t", text, got)
		}
	}
	want(t, host.SELinux(machine(t, files{"etc/os-release": "ID=fedora"}), nil), finding.Failure, "does not know containers", "dnf install -y container-selinux")
	want(t, host.SELinux(machine(t, nil), nil), finding.Failure, "does not know containers", "package container-selinux")
	m := machine(t, files{module: "/"})
	want(t, host.SELinux(m, []string{"/cache", "/a:/a:z", "/b:/b:ro,Z", "named:/c"}), finding.Fine, "", "")
	want(t, host.SELinux(m, []string{"/a:/a:ro", "/b:/b"}), finding.Warning, "these volumes keep the machine's label: /a:/a:ro, /b:/b", `write them with the option z, as in "/a:/a:ro,z"`)
	want(t, host.SELinux(m, []string{"/b:/b"}), finding.Warning, "/b:/b", `"/b:/b:z"`)
}
