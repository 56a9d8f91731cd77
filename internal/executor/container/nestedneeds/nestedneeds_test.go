package nestedneeds_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/nestedneeds"
)

func TestEnoughKernel(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{
		"5.13.0": true, "5.13": true, "5.13-rc1": true, "5.12.19": false, "4.18.0-553.el8.x86_64": false, "6.1.0-25-amd64": true, "7.0": true, "": true, "mine": true,
	} {
		if got := nestedneeds.EnoughKernel(release); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, s := range nestedneeds.Settings() {
		if !s.Allows(s.Value) || !s.Allows("") {
			t.Errorf("%s keeps namespaces from users who have %q, or none", s.Name, s.Value)
		}
		for value, want := range map[string]bool{"0": s.Value == "0", "1": s.Value != "0"} {
			if s.Allows(value) != want {
				t.Errorf("%s = %s: %t", s.Name, value, !want)
			}
		}
	}
	if got := nestedneeds.Settings()[0].Path(); got != "/proc/sys/user/max_user_namespaces" {
		t.Error(got)
	}
	const words = "user.max_user_namespaces to 28633, kernel.unprivileged_userns_clone (Debian) to 1 and kernel.apparmor_restrict_unprivileged_userns (Ubuntu) to 0"
	if got := nestedneeds.SettingsWords(); got != words {
		t.Error(got)
	}
}
