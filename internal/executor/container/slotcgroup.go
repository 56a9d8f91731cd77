package container

import (
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// slotCgroup is the control group of a slot. Source: gitlab-runner common/config.go, expandSlotTemplate.
func slotCgroup(template string, slot int) string {
	n := strconv.Itoa(slot)
	return strings.NewReplacer("${slot}", n, "$slot", n).Replace(template)
}

// groupable is an error where the engine makes no container below a control group, for its name alone.
// Source: moby daemon/daemon_unix.go, verifyPlatformContainerSettings; podman libpod/container_internal_linux.go.
func groupable(e *engineapi.Engine, parent string) error {
	if parent == "" || !e.Slices || strings.HasSuffix(parent, ".slice") {
		return nil
	}
	return fmt.Errorf("no container can be below the control group %q: systemd manages those of %s, and their names end in %q: "+
		"name such a one in slot_cgroup_template or cgroup_parent, for services service_slot_cgroup_template or service_cgroup_parent, as in %q", parent, e, ".slice", "ci-${slot}.slice")
}

// warnOfGroups says at the runner's start what would fail every job.
func (e *Executor) warnOfGroups(engine *engineapi.Engine) {
	for _, template := range []string{e.o.SlotCgroup, e.o.ServiceSlotCgroup} {
		if err := groupable(engine, template); err != nil {
			e.log.Warn("Jobs will fail", "error", err)
			return
		}
	}
}
