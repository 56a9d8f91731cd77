package scope

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sibling makes a control group beside the runner's, in the unified hierarchy and in systemd's named
// one, whichever there are, and moves the process there.
func sibling(name string, pid int) error {
	groups, err := Of("self")
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range groups {
		errs = append(errs, enter(filepath.Join(g.Mount, filepath.Dir(g.Path), name), pid))
	}
	if len(groups) == 0 {
		return errors.New("no control group hierarchy that could be used")
	}
	return errors.Join(errs...)
}

// enterAttempts is how often a group is made: an environment that is closed at the same time removes it
// while it is empty.
const enterAttempts = 10

// enter makes the control group dir and moves the process into it.
func enter(dir string, pid int) error {
	var err error
	for range enterAttempts {
		if err = os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	return err
}

// Together reports whether a process is in the runner's control group, and so would end with the
// runner's service. Its runner may have died before it was moved.
func Together(pid int) bool {
	mine, err := Of("self")
	if err != nil {
		return false
	}
	its, err := Of(strconv.Itoa(pid))
	return err == nil && slices.ContainsFunc(its, func(g Group) bool { return slices.Contains(mine, g) })
}

// RemoveSiblings removes the groups of a name that a process, which has ended by now, and the runner
// itself would use; those where something still runs stay.
func RemoveSiblings(name string, had []Group) {
	mine, _ := Of("self")
	for _, g := range mine {
		had = append(had, Group{g.Mount, filepath.Join(filepath.Dir(g.Path), name)})
	}
	for _, g := range had {
		if filepath.Base(g.Path) == name {
			_ = os.Remove(filepath.Join(g.Mount, g.Path)) // fails while it is in use
		}
	}
}

// Group is where a process is in one hierarchy.
type Group struct{ Mount, Path string }

// Of finds the place of a process ("self" or a pid) in the unified hierarchy and in systemd's
// named one (cgroups(7)).
func Of(process string) ([]Group, error) {
	b, err := os.ReadFile(filepath.Join("/proc", process, "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("find the control group of a process: %w", err)
	}
	var groups []Group
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		var mounts []string
		switch {
		case parts[0] == "0" && parts[1] == "":
			mounts = []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
		case parts[1] == "name=systemd":
			mounts = []string{"/sys/fs/cgroup/systemd"}
		}
		for _, m := range mounts {
			if _, err := os.Stat(filepath.Join(m, "cgroup.procs")); err == nil {
				groups = append(groups, Group{Mount: m, Path: parts[2]})
				break
			}
		}
	}
	return groups, nil
}
