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

// Disk checks a file system for space and for inodes.
func Disk(m Machine, s Space) finding.Check {
	return finding.Check{Name: "disk", About: s.Path, Look: func(context.Context) finding.Result {
		dir := m.at(s.Path)
		for dir != filepath.Dir(dir) {
			if _, err := os.Stat(dir); err == nil {
				break
			}
			dir = filepath.Dir(dir) // it will be made there
		}
		var f unix.Statfs_t
		if err := unix.Statfs(dir, &f); err != nil {
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
