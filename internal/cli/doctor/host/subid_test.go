package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestSubIDs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files      files
		severity   finding.Severity
		what, mend string
	}{
		"no file":        {nil, finding.Failure, "user ci has no range in /etc/subuid", "usermod --add-subuids 100000-165535 ci"},
		"others'":        {files{"etc/subuid": "a:100000:65536\nb:165536:65536\n"}, finding.Failure, "no range", "usermod --add-subuids 231072-296607 ci"},
		"enough":         {files{"etc/subuid": "a:100000:65536\nci:165536:65536\n"}, finding.Fine, "65536 ids", ""},
		"by number":      {files{"etc/subuid": "61234:165536:65536\n"}, finding.Fine, "65536 ids", ""},
		"in parts":       {files{"etc/subuid": "ci:100000:60000\n\n# more\nci:300000:5536\n"}, finding.Fine, "65536 ids", ""},
		"too few":        {files{"etc/subuid": "ci:100000:1000\n"}, finding.Warning, "has 1000 ids", "usermod --add-subuids 101000-166535 ci"},
		"none left":      {files{"etc/subuid": "a:100000:4294860000\n"}, finding.Failure, "no range", "a range of 65536 free ids"},
		"no numbers":     {files{"etc/subuid": "ci:x:65536\nci:1:-1\nci:5\n"}, finding.Failure, "no range", "usermod --add-subuids 100000-165535 ci"},
		"shared":         {files{"etc/subuid": "ci:100000:65536\nb:165535:10\n"}, finding.Warning, "users ci and b share ids", "usermod --del-subuids 100000-165535 ci && usermod --add-subuids 165545-231080 ci"},
		"from a server":  {files{"etc/nsswitch.conf": "passwd: files\nsubid: sss\n"}, finding.Skipped, "sss", ""},
		"Alpine":         {files{"no usermod": "", "etc/subuid": ""}, finding.Failure, "no range", `sh -c '[ -z "$(tail -c1 /etc/subuid 2>/dev/null)" ] || echo >>/etc/subuid; echo ci:100000:65536 >>/etc/subuid'`},
		"Alpine, shared": {files{"no usermod": "", "etc/subuid": "ci:100000:65536\nb:165535:10\n"}, finding.Warning, "share ids", "that is nobody else's"},
		"unused podman":  {files{"usr/bin/podman": ""}, finding.Failure, "no range", "usermod --add-subuids 100000-165535 ci"},
		"with podman": {files{"usr/bin/podman": "", "home/ci/.local/share/containers/x": ""}, finding.Failure, "no range",
			"usermod --add-subuids 100000-165535 ci && runuser -u ci -- env HOME=/home/ci podman system migrate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.files == nil {
				c.files = files{}
			}
			if _, none := c.files["no usermod"]; !none {
				c.files["usr/sbin/usermod"] = ""
			}
			want(t, host.SubUID(machine(t, c.files), ci(), false), c.severity, c.what, c.mend)
		})
	}
	const shared = "ci:100000:65536\nb:165535:10\n"
	for _, c := range []struct {
		home, ranges string
		loses        bool
	}{{"", shared, false}, {"home/ci/.local/share/containers/x", shared, true}, {"home/ci/.local/share/docker/x", shared, true}, {"home/ci/.local/share/containers/x", "ci:100000:1000\n", false}} {
		f := files{"etc/subuid": c.ranges, "usr/sbin/usermod": ""}
		if c.home != "" {
			f[c.home] = ""
		}
		if got := host.SubUID(machine(t, f), ci(), false).Look(t.Context()); (got.Loses != "") != c.loses {
			t.Errorf("%+v: loses %q", c, got.Loses)
		}
	}
	want(t, host.SubUID(machine(t, files{"etc/NIXOS": "", "usr/sbin/usermod": ""}), ci(), false), finding.Failure, "no range", "users.users.ci.autoSubUidGidRange = true;")
	want(t, host.SubGID(machine(t, files{"etc/subuid": "ci:100000:65536\n", "usr/sbin/usermod": ""}), ci(), false), finding.Failure, "no range in /etc/subgid", "usermod --add-subgids 100000-165535 ci")
	few := machine(t, files{"etc/subgid": "ci:100000:65535\n", "usr/sbin/usermod": ""})
	want(t, host.SubGID(few, ci(), false), finding.Warning, "has 65535 ids", "usermod --add-subgids 165535-231070 ci")
	want(t, host.SubGID(few, ci(), true), finding.Failure, "has 65535 ids", "usermod --add-subgids 165535-231070 ci") // engines of jobs have them all
}
