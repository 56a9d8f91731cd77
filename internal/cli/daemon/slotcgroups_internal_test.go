package daemon

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/config"
)

func TestSlotCgroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r              config.Runner
		jobs, services string
	}{
		"none":           {r: config.Runner{SlotCgroupTemplate: "ci-${slot}"}},
		"the default":    {config.Runner{UseSlotCgroups: true}, "gitlab-runner/slot-${slot}", "gitlab-runner/slot-${slot}"},
		"of its own":     {config.Runner{UseSlotCgroups: true, SlotCgroupTemplate: "ci-${slot}.slice"}, "ci-${slot}.slice", "ci-${slot}.slice"},
		"services apart": {config.Runner{UseSlotCgroups: true, Docker: &config.Docker{ServiceSlotCgroupTemplate: "s-${slot}"}}, "gitlab-runner/slot-${slot}", "s-${slot}"},
	} {
		if jobs, services := slotCgroups(&c.r); jobs != c.jobs || services != c.services {
			t.Errorf("%s: %q and %q, want %q and %q", name, jobs, services, c.jobs, c.services)
		}
	}
}
