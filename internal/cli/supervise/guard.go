package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/supervisor"
)

// guard has nobody but the runner read its configuration, which holds tokens: jobs can mount what the engine's user can
// read. A secret of Podman is for every user unless it is made otherwise. A link is not followed: it may be the runner's, to what
// is not. The error says that the engine's user can still read it.
func guard(path string, runner, engine account) error {
	err := closeTo(path, runner)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is made later, by `register`
	}
	readable := supervisor.Seen(engine.uid, engine.gid, func() error {
		f, err := os.Open(path)
		if err == nil {
			_ = f.Close() // was not even read
		}
		return err
	}) == nil
	if err == nil && readable {
		err = errors.New("it is a link, or has other names")
	}
	if err != nil {
		return fmt.Errorf("the configuration %s has to be closed to all but %s, since jobs could get at its tokens: %w: give it as --secret config.toml,uid=%d,gid=%d,mode=0400",
			path, runner.name, err, runner.uid, runner.gid)
	}
	return nil
}

// closeTo gives a file to somebody and nobody else. It leaves links, and files with several names, as they are, and what cannot
// be changed where it is closed to all but root and him.
func closeTo(path string, who account) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK, kind == unix.S_IFREG && st.Nlink > 1:
		return nil
	case kind != unix.S_IFREG:
		return errors.New("it is no file")
	case int(st.Uid) == who.uid && st.Mode&0o077 == 0:
		return nil
	}
	name := "/proc/self/fd/" + strconv.Itoa(fd)
	err = os.Chown(name, who.uid, who.gid)
	if err == nil {
		err = os.Chmod(name, fs.FileMode(st.Mode&0o600|0o400))
	}
	if errors.Is(err, unix.EROFS) && closed(st, who) {
		return nil
	}
	return err
}

// closed reports whether somebody can read a file, and nobody else but root, who is in no group of others.
func closed(st unix.Stat_t, who account) bool {
	uid, gid := int(st.Uid), int(st.Gid)
	group := st.Mode&0o070 != 0
	switch {
	case st.Mode&0o007 != 0, group && gid != 0 && gid != who.gid:
		return false
	case uid == who.uid:
		return st.Mode&0o400 != 0
	default:
		return uid == 0 && gid == who.gid && st.Mode&0o040 != 0
	}
}
