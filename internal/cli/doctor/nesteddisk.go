package doctor

import (
	"slices"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/config"
)

// littleFree is what should be free where engines of jobs may keep a share: about twice what an engine may keep whatever share that is.
const littleFree = 8 << 30

// ofNestedDisk are the checks of what engines of jobs may keep on an engine's disk.
func (s *session) ofNestedDisk(e *engine) []finding.Check {
	if bounds := s.nestedBounds(e); len(bounds) > 0 {
		return []finding.Check{host.NestedDisk(s.machine, e.Facts().Dir, bounds)}
	}
	if slices.ContainsFunc(e.runners, nestedShare) {
		return []finding.Check{host.NestedShare(s.machine, e.Facts().Dir, littleFree)}
	}
	return nil
}

// nestedShare reports whether an entry's engines of jobs may keep a share of the disk.
func nestedShare(r *config.Runner) bool {
	d := dockerOf(r)
	b, err := config.ParseNestedDisk(d.NestedDisk)
	return err == nil && b.Percent > 0 && d.Nested == config.NestedPodman
}

// nestedBounds are what the engines of as many jobs as may run at once on an engine may keep each, the largest first, where nested_disk is a size.
func (s *session) nestedBounds(e *engine) (bounds []uint64) {
	jobs := max(s.loaded.Concurrent, 1)
	for _, r := range e.runners {
		d := dockerOf(r)
		b, err := config.ParseNestedDisk(d.NestedDisk)
		if err != nil || b.Bytes == 0 || d.Nested != config.NestedPodman {
			continue
		}
		many := jobs
		if r.Limit > 0 {
			many = min(many, r.Limit)
		}
		bounds = append(bounds, slices.Repeat([]uint64{uint64(b.Bytes)}, many)...)
	}
	slices.Sort(bounds)
	slices.Reverse(bounds)
	return bounds[:min(len(bounds), jobs)]
}
