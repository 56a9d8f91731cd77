package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestUserNamespaces(t *testing.T) {
	t.Parallel()
	const (
		release, most   = "proc/sys/kernel/osrelease", "proc/sys/user/max_user_namespaces"
		clone, apparmor = "proc/sys/kernel/unprivileged_userns_clone", "proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	)
	for name, c := range map[string]struct {
		files      files
		severity   finding.Severity
		what, mend string
	}{
		"nothing known": {nil, finding.Fine, "may have namespaces", ""},
		"all is well":   {files{release: "6.1.0-25-amd64\n", most: "96365\n", clone: "1", apparmor: "0"}, finding.Fine, "", ""},
		"none": {
			files{most: "0\n"}, finding.Failure, "user.max_user_namespaces is 0: ordinary users may not",
			"sysctl -w user.max_user_namespaces=28633 && sh -c '{ echo user.max_user_namespaces=28633; } >/etc/sysctl.d/99-skerry-userns.conf'",
		},
		"two": {
			files{clone: "0", apparmor: "1"}, finding.Failure, "kernel.unprivileged_userns_clone is 0, kernel.apparmor_restrict_unprivileged_userns is 1",
			"sysctl -w kernel.unprivileged_userns_clone=1 && sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 && " +
				"sh -c '{ echo kernel.unprivileged_userns_clone=1; echo kernel.apparmor_restrict_unprivileged_userns=0; } >/etc/sysctl.d/99-skerry-userns.conf'",
		},
		"NixOS":            {files{"etc/NIXOS": "", most: "0"}, finding.Failure, "is 0", `"user.max_user_namespaces" = 28633;`},
		"an old kernel":    {files{release: "5.10.0-32-amd64"}, finding.Failure, "Linux 5.10.0-32-amd64 is older than 5.13", "start a newer kernel"},
		"an old one of RH": {files{release: "4.18.0-553.el8_10.x86_64"}, finding.Warning, "is older than 5.13", "start a newer kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, host.UserNamespaces(machine(t, c.files)), c.severity, c.what, c.mend)
		})
	}
}

func TestNestedTun(t *testing.T) {
	t.Parallel()
	want(t, host.NestedTun(machine(t, nil)), finding.Failure, "there is no /dev/net/tun", "modprobe tun && chmod 0666 /dev/net/tun")
	want(t, host.NestedTun(machine(t, files{"run/.containerenv": ""})), finding.Failure, "there is no /dev/net/tun", "start this container with --device /dev/net/tun")
	m := machine(t, files{"dev/net/tun": ""})
	chmod(t, m, "dev/net/tun", 0o660)
	want(t, host.NestedTun(m), finding.Failure, "not every user may read and write /dev/net/tun (mode 0660)", "chmod 0666 /dev/net/tun")
	chmod(t, m, "dev/net/tun", 0o666)
	want(t, host.NestedTun(m), finding.Fine, "", "")
}
