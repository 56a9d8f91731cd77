package doctor

import (
	"slices"

	"gitlab.com/skerry/skerry/internal/config"
)

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
