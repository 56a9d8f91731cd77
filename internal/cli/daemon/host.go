package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// survives says why the shell executor's jobs would not outlive this process; nil when they do.
func (d *Daemon) survives(ctx context.Context) error {
	entry, err := d.place.entry(&config.Runner{Executor: executorShell}, gitlab.TLSData{})
	if err != nil {
		return err
	}
	exec, err := newExecutor(entry, &d.containers, d.log)
	if err != nil {
		return err
	}
	if s, ok := exec.(executor.Survivor); ok {
		return s.Survives(ctx)
	}
	return nil
}

// persistent says why the state directory would not be there at the next start; nil when it will be. A
// file system in memory is gone after a reboot, with the only record of the jobs. A container's own
// layer (overlayfs) is not told from a disk: it lives through a restart of the container, and where the
// container would be replaced, its first process is the runner, whose jobs do not survive anyway.
func persistent(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look at the file system of the state directory %s: %w", dir, err)
	}
	switch s.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return fmt.Errorf("the state directory %s is on a file system in memory, which a reboot empties: put it on a disk with --state-dir", dir)
	}
	return nil
}

// checkUser says why jobs cannot be run as the user name; an empty name is this process's own user.
func checkUser(name string) error {
	if name == "" {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("--user %s: %w: make the user, or leave --user out to run jobs as the runner's own user", name, err)
	}
	if uid := os.Geteuid(); uid != 0 && u.Uid != strconv.Itoa(uid) {
		return fmt.Errorf("--user %s: only root may run jobs as another user, and this process has uid %d: "+
			"start it as root, or start it as %s and leave --user out", name, uid, name)
	}
	return nil
}

// stateDirError adds to an error of the state directory what to do about it, where the error does not say.
func stateDirError(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("the state directory %s cannot be used by uid %d: %w: give it to that user (chown, chmod 0700), "+
			"or set another with --state-dir, $SKERRY_STATE_DIR or state_dir", dir, os.Geteuid(), err)
	}
	return err
}
