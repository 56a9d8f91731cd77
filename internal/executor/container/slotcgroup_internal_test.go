package container

import (
	"log/slog"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// TestGroupable tells of control groups that systemd has no name for, before an engine does.
func TestGroupable(t *testing.T) {
	t.Parallel()
	systemd := &engineapi.Engine{Kind: engineapi.Docker, Slices: true}
	for name, c := range map[string]struct {
		engine *engineapi.Engine
		parent string
		fails  bool
	}{
		"none":                     {systemd, "", false},
		"a slice":                  {systemd, "ci-7.slice", false},
		"the default":              {systemd, "gitlab-runner/slot-7", true},
		"where systemd is not":     {&engineapi.Engine{}, "gitlab-runner/slot-7", false},
		"a slice, where it is not": {&engineapi.Engine{}, "ci-7.slice", false},
	} {
		if err := groupable(c.engine, c.parent); (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWarnOfGroups says at the start what each job would fail of.
func TestWarnOfGroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o     Options
		warns bool
	}{
		"none":             {Options{}, false},
		"slices":           {Options{SlotCgroup: "ci-${slot}.slice", ServiceSlotCgroup: "ci-${slot}.slice"}, false},
		"the default":      {Options{SlotCgroup: "gitlab-runner/slot-${slot}", ServiceSlotCgroup: "gitlab-runner/slot-${slot}"}, true},
		"that of services": {Options{SlotCgroup: "ci-${slot}.slice", ServiceSlotCgroup: "services/${slot}"}, true},
	} {
		var log strings.Builder
		e := &Executor{o: c.o, log: slog.New(slog.NewTextHandler(&log, nil))}
		e.warnOfGroups(&engineapi.Engine{Slices: true})
		if got := strings.Contains(log.String(), "slot_cgroup_template"); got != c.warns {
			t.Errorf("%s: %s", name, log.String())
		}
	}
}
