package engineapi

import "testing"

// TestSecured reads what engines say of how they confine containers.
func TestSecured(t *testing.T) {
	t.Parallel()
	type security struct {
		seccomp            string
		apparmor, rootless bool
	}
	for name, c := range map[string]struct {
		options []string
		want    security
	}{
		"nothing":                  {nil, security{}},
		"Docker 20.10":             {[]string{"name=seccomp,profile=default"}, security{seccomp: SeccompBuiltin}},
		"Docker 23 on Debian":      {[]string{"name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"}, security{seccomp: SeccompBuiltin, apparmor: true}},
		"rootless":                 {[]string{"name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"}, security{seccomp: SeccompBuiltin, rootless: true}},
		"a profile of the machine": {[]string{"name=seccomp,profile=/etc/docker/seccomp.json", "name=userns"}, security{seccomp: "/etc/docker/seccomp.json"}},
		"none":                     {[]string{"name=seccomp,profile=unconfined"}, security{seccomp: "unconfined"}},
		"what nobody knows":        {[]string{"", "name", "seccomp", "name=selinux"}, security{}},
	} {
		e := &Engine{}
		for _, o := range c.options {
			e.secured(o)
		}
		if got := (security{e.Seccomp, e.AppArmor, e.Rootless}); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
