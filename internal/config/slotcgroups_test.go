package config_test

import (
	"strings"
	"testing"
)

func TestSlotCgroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ runner, docker, warns string }{
		"none":             {runner: "slot_cgroup_template = \"ci.slice\"\n"},
		"the default":      {runner: "use_slot_cgroups = true\n"},
		"slices":           {runner: "use_slot_cgroups = true\nslot_cgroup_template = \"ci-${slot}.slice\"\n", docker: "service_slot_cgroup_template = \"services/$slot\"\n"},
		"one for all jobs": {runner: "use_slot_cgroups = true\nslot_cgroup_template = \"ci\"\n", warns: "slot_cgroup_template: is one control group for all jobs"},
		"for all services": {runner: "use_slot_cgroups = true\n", docker: "service_slot_cgroup_template = \"ci\"\n", warns: "service_slot_cgroup_template: is one control group for all jobs"},
		"not containers":   {runner: "use_slot_cgroups = true\n", docker: "-", warns: "use_slot_cgroups: has no effect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "[[runners]]\nname = \"one\"\nurl = \"https://gitlab.example\"\ntoken = \"glrt-x\"\n" + c.runner
			if c.docker == "-" {
				text += "executor = \"shell\"\n"
			} else {
				text += "executor = \"docker\"\n[runners.docker]\nimage = \"alpine\"\n" + c.docker
			}
			got := draft(t, text).Config()
			warns := ""
			for _, w := range got.Warnings {
				warns += w.Error() + "\n"
			}
			if (warns == "") != (c.warns == "") || !strings.Contains(warns, c.warns) {
				t.Errorf("warnings: %s", warns)
			}
		})
	}
}
