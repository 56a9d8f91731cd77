package shell

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

	"gitlab.com/skerry/skerry/internal/executor"
)

// siblingName is the control group of an installation's agents, where there is no systemd.
func siblingName(owner executor.OwnerID) string { return "skerry-jobs-" + string(owner) }

// sibling makes a control group beside the runner's, in the unified hierarchy and in systemd's named
// one, whichever there are, and moves the agent there.
func sibling(ref executor.Ref, pid int) error {
	groups, err := groupsOf("self")
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range groups {
		errs = append(errs, enter(filepath.Join(g.mount, filepath.Dir(g.path), siblingName(ref.Owner)), pid))
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

// together reports whether a process is in the runner's control group, and so would end with the
// runner's service. Its runner may have died before it was moved.
func together(pid int) bool {
	mine, err := groupsOf("self")
	if err != nil {
		return false
	}
	its, err := groupsOf(strconv.Itoa(pid))
	return err == nil && slices.ContainsFunc(its, func(g group) bool { return slices.Contains(mine, g) })
}

// removeSiblings removes the groups for agents that an agent, which has ended by now, and the runner
// itself would use; those where another job still runs stay.
func removeSiblings(owner executor.OwnerID, agent []group) {
	mine, _ := groupsOf("self")
	for _, g := range mine {
		agent = append(agent, group{g.mount, filepath.Join(filepath.Dir(g.path), siblingName(owner))})
	}
	for _, g := range agent {
		if filepath.Base(g.path) == siblingName(owner) {
			_ = os.Remove(filepath.Join(g.mount, g.path)) // fails while it is in use
		}
	}
}

// group is where a process is in one hierarchy.
type group struct{ mount, path string }

// groupsOf finds the place of a process ("self" or a pid) in the unified hierarchy and in systemd's
// named one (cgroups(7)).
func groupsOf(process string) ([]group, error) {
	b, err := os.ReadFile(filepath.Join("/proc", process, "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("find the control group of a process: %w", err)
	}
	var groups []group
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
				groups = append(groups, group{mount: m, path: parts[2]})
				break
			}
		}
	}
	return groups, nil
}
