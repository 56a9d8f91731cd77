package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// Space is how much a file system should have free.
type Space struct {
	About string // what is kept there: "the engine's storage"
	Path  string // a directory, which may be missing
	// Fail and Warn are bytes; with less, the result is a failure, or a warning.
	Fail, Warn uint64
	Mend       []finding.Command // that free some of it
	Advice     string
}

// fewInodes is when a file system is as good as full though it has bytes.
const fewInodes = 1000

// NestedDisk checks that the engines of as many jobs as may run at once have room for what each may keep, in bytes, in the file system of dir.
func NestedDisk(m Machine, dir string, bounds []uint64) finding.Check {
	return finding.Check{Name: "nested_disk", About: dir, Look: func(context.Context) finding.Result {
		var all uint64
		for _, b := range bounds {
			all += b
		}
		f, err := m.system(dir)
		if err != nil {
			return finding.Skip("%s cannot be looked at: %v", dir, err)
		}
		has := f.Blocks * uint64(f.Bsize) //nolint:gosec // a size
		if all <= has {
			return finding.OK("engines of jobs may keep %s of %s", Size(all), Size(has))
		}
		return finding.Result{
			Severity: finding.Warning, What: fmt.Sprintf("nested_disk lets the engines of %d jobs keep %s at once, and the file system of %s has %s", len(bounds), Size(all), dir, Size(has)),
			Why:    "jobs fail when it is full, those without an engine, too",
			Advice: fmt.Sprintf("set nested_disk in [runners.docker] to a share such as \"50%%\", or to less than %dMB, or let fewer jobs run at once (limit, concurrent)", has/uint64(len(bounds))>>20),
		}
	}}
}

// system is what the kernel says of the file system of a directory, which may be missing.
func (m Machine) system(path string) (f unix.Statfs_t, err error) {
	dir := m.at(path)
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir) // it will be made there
	}
	err = unix.Statfs(dir, &f)
	return f, err
}

// Disk checks a file system for space and for inodes.
func Disk(m Machine, s Space) finding.Check {
	return finding.Check{Name: "disk", About: s.Path, Look: func(context.Context) finding.Result {
		f, err := m.system(s.Path)
		if err != nil {
			return finding.Skip("%s cannot be looked at: %v", s.Path, err)
		}
		free := f.Bavail * uint64(f.Bsize) //nolint:gosec // a size
		bad := finding.Result{
			What: fmt.Sprintf("%s of %s has %s left", s.About, s.Path, Size(free)), Mend: s.Mend, Advice: s.Advice,
			Why: "jobs fail when it is full, in the middle of what they do",
		}
		switch {
		case f.Files > 0 && f.Ffree < fewInodes:
			bad.Severity, bad.What = finding.Failure, fmt.Sprintf("%s in %s has %d inodes left", s.About, s.Path, f.Ffree)
		case free < s.Fail:
			bad.Severity = finding.Failure
		case free < s.Warn:
			bad.Severity = finding.Warning
		default:
			return finding.OK("%s free for %s", Size(free), s.About)
		}
		return bad
	}}
}

// Size is a number of bytes for people.
func Size(n uint64) string {
	f, unit := float64(n)/(1<<20), "MiB"
	if f >= 1000 {
		f, unit = f/1024, "GiB"
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
