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
	// As in Debian, where an ordinary user sees no modules.
	const labels = "etc/selinux/default/contexts/files/file_contexts"
	for text, c := range map[string]struct {
		severity finding.Severity
		what     string
	}{
		"":                        {finding.Skipped, "may not look at the policy"},
		"/srv -- system_u:x:y:s0": {finding.Failure, "does not know containers"},
		"/var/lib/containers/storage/volumes/[^/]*/.*\tsystem_u:object_r:container_file_t:s0": {finding.Fine, "knows containers"},
	} {
		f := files{labels: text}
		if text == "" {
			f = nil
		}
		m, mend := machine(t, f), ""
		m.UID = 61234
		if c.severity > finding.Fine {
			mend = "package container-selinux"
		}
		want(t, host.SELinux(m, nil), c.severity, c.what, mend)
	}
	m := machine(t, files{module: "/"})
	want(t, host.SELinux(m, []string{"/cache", "/a:/a:z", "/b:/b:ro,Z", "named:/c"}), finding.Fine, "", "")
	want(t, host.SELinux(m, []string{"/a:/a:ro", "/b:/b"}), finding.Warning, "these volumes keep the machine's label: /a:/a:ro, /b:/b", `write them with the option z, as in "/a:/a:ro,z"`)
	want(t, host.SELinux(m, []string{"/b:/b"}), finding.Warning, "/b:/b", `"/b:/b:z"`)
}
