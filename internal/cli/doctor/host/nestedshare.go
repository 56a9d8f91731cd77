package host

import (
	"context"
	"fmt"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// NestedShare checks that the file system of dir has little free at least, in bytes, where an engine of a job may keep a share of that.
func NestedShare(m Machine, dir string, little uint64) finding.Check {
	return finding.Check{Name: "nested_disk", About: dir, Look: func(context.Context) finding.Result {
		f, err := m.system(dir)
		if err != nil {
			return finding.Skip("%s cannot be looked at: %v", dir, err)
		}
		free := f.Bavail * uint64(f.Bsize) //nolint:gosec // a size
		if free >= little {
			return finding.OK("engines of jobs may keep a share of %s", Size(free))
		}
		return finding.Result{
			Severity: finding.Warning, What: fmt.Sprintf("nested_disk lets the engine of a job keep a share of what is free, and the file system of %s has %s left", dir, Size(free)),
			Why:    "jobs lose their engines to what others have filled it with",
			Advice: "remove something, or set nested_disk in [runners.docker] to a size that jobs need and that is there",
		}
	}}
}
