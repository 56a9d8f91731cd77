package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"gitlab.com/skerry/skerry/internal/executor"
)

// leave moves an agent out of the runner's control group, so that stopping the runner's service does
// not end it: into a transient scope of systemd where that runs, else into a sibling of the runner's
// own group. setsid alone does not do it (systemd.kill(5), KillMode=control-group).
func leave(ctx context.Context, ref executor.Ref, pid int) error {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return transientScope(ctx, ref, pid)
	}
	return sibling(ref, pid)
}

func scopeName(ref executor.Ref) string { return "skerry-job-" + ref.ID + ".scope" }

// transientScope asks systemd for a scope of the agent's own.
func transientScope(ctx context.Context, ref executor.Ref, pid int) error {
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if os.Getuid() != 0 {
		conn, err = dbus.NewUserConnectionContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, scopeName(ref), "fail", []dbus.Property{
		dbus.PropDescription("GitLab CI job " + ref.ID),
		{Name: "PIDs", Value: godbus.MakeVariant([]uint32{uint32(pid)})},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}, done)
	if err != nil {
		return fmt.Errorf("start the scope %s: %w", scopeName(ref), err)
	}
	select {
	case state := <-done:
		if state != "done" {
			return fmt.Errorf("start the scope %s: systemd says %q", scopeName(ref), state)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sibling makes a control group beside the runner's, in the unified hierarchy and in systemd's named
// one, whichever there are.
func sibling(ref executor.Ref, pid int) error {
	groups, err := ownGroups()
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range groups {
		dir := filepath.Join(g.mount, filepath.Dir(g.path), "skerry-jobs-"+string(ref.Owner))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644))
	}
	if len(groups) == 0 {
		return errors.New("no control group hierarchy that could be used")
	}
	return errors.Join(errs...)
}

// group is where the runner is in one hierarchy.
type group struct{ mount, path string }

// ownGroups finds the runner's place in the unified hierarchy and in systemd's named one (cgroups(7)).
func ownGroups() ([]group, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("find the runner's control group: %w", err)
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

// Survives reports why jobs would not outlive the runner, nil when they do.
func (e *Executor) Survives(ctx context.Context) error {
	if os.Getpid() == 1 {
		return errors.New("the runner is the first process of its container, which ends with it")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil //nolint:nilerr // no systemd: nobody ends the control group with the runner
	}
	groups, err := ownGroups()
	if err != nil {
		return err
	}
	service := false
	for _, g := range groups {
		service = service || strings.HasSuffix(g.path, ".service")
	}
	if !service {
		return nil
	}
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if os.Getuid() != 0 {
		conn, err = dbus.NewUserConnectionContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("systemd cannot be asked for a scope for each job: %w", err)
	}
	conn.Close()
	return nil
}
