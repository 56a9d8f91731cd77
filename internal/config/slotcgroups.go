package config

import (
	"strings"

	"gitlab.com/skerry/skerry/internal/config/schema"
)

// DefaultSlotCgroup is the control group of a slot. Source: gitlab-runner common/config.go, DefaultSlotCgroupTemplate.
const DefaultSlotCgroup = "gitlab-runner/slot-${slot}"

// validateSlotCgroups warns of control groups that are not those of slots.
func validateSlotCgroups(r *Runner, d *schema.Decoder, at string) {
	if !r.UseSlotCgroups {
		return
	}
	if r.Executor != "docker" && r.Executor != "podman" || r.Docker == nil {
		d.Warn(schema.Join(at, "use_slot_cgroups"), "has no effect: only containers have control groups of slots")
		return
	}
	docker := schema.Join(at, "docker")
	for _, t := range [][2]string{
		{schema.Join(at, "slot_cgroup_template"), r.SlotCgroupTemplate}, {schema.Join(docker, "service_slot_cgroup_template"), r.Docker.ServiceSlotCgroupTemplate},
	} {
		if t[1] != "" && !strings.Contains(t[1], "${slot}") && !strings.Contains(t[1], "$slot") {
			d.Warn(t[0], "is one control group for all jobs, whose limits they share: write ${slot} where the job's slot is to be, as in %q", DefaultSlotCgroup)
		}
	}
}
