// Package wholefile replaces files as a whole: whoever reads one, and whenever power is lost, finds the old one or the new one.
package wholefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newMode is the mode of a file that was not there before: it holds tokens.
const newMode = 0o600

// Replacement is a file about to take another one's place. Making it proves that the directory
// can be written before anything is done that needs the outcome kept.
type Replacement struct {
	target string
	temp   *os.File
}

// New makes an empty file beside target with target's owner and mode. The mode is 0600 when
// there is no target, and when every user could read it: what is going to be written may be a secret.
func New(target string) (_ *Replacement, err error) {
	mode, owner, group := fs.FileMode(newMode), -1, -1
	info, err := os.Stat(target)
	switch {
	case err == nil:
		if others := info.Mode().Perm() & 0o007; others == 0 {
			mode = info.Mode().Perm()
		}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			owner, group = int(sys.Uid), int(sys.Gid)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := replaceable(target); err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.new")
	if err != nil {
		return nil, err
	}
	r := &Replacement{target: target, temp: temp}
	defer func() {
		if err != nil {
			r.Discard()
		}
	}()
	made, err := temp.Stat()
	if err != nil {
		return nil, err
	}
	if sys, ok := made.Sys().(*syscall.Stat_t); ok && owner >= 0 && (int(sys.Uid) != owner || int(sys.Gid) != group) {
		if err := temp.Chown(owner, group); err != nil {
			return nil, fmt.Errorf("keep the owner of %s: %w", target, err)
		}
	}
	return r, temp.Chmod(mode)
}

// replaceable says why target cannot be replaced by a rename although its directory can be written: it is
// a mount of its own, as when a container gets this one file. Kernels before 5.8 do not tell.
func replaceable(target string) error {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, target, unix.AT_SYMLINK_NOFOLLOW, 0, &s)
	if err == nil && s.Attributes_mask&s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return fmt.Errorf("%s is mounted by itself, so that it cannot be replaced: mount the directory that it is in instead", target)
	}
	return nil
}

// Commit puts text in the place of the target so that power loss leaves either version whole.
func (r *Replacement) Commit(text []byte) error {
	_, err := r.temp.Write(text)
	if err == nil {
		err = r.temp.Sync()
	}
	if err == nil {
		err = os.Rename(r.temp.Name(), r.target)
	}
	if err != nil {
		r.Discard()
		return err
	}
	if err := r.temp.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(r.target))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Discard removes what is not going to be used. It may be called after Commit.
func (r *Replacement) Discard() {
	if r.temp.Close() == nil {
		_ = os.Remove(r.temp.Name()) // nothing more can be done about a leftover
	}
}

// Replace writes text to path by rename, through symbolic links.
func Replace(path string, text []byte) error {
	target, err := Resolve(path)
	if err != nil {
		return err
	}
	r, err := New(target)
	if err != nil {
		return err
	}
	return r.Commit(text)
}

// Resolve follows path to the file that is meant, which need not exist yet.
func Resolve(path string) (string, error) {
	const most = 40 // as the kernel's limit
	for range most {
		link, err := os.Readlink(path)
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = link
	}
	return "", fmt.Errorf("follow %s: %w", path, syscall.ELOOP)
}

// Lock takes the lock that all editors of files in dir share. It makes no file: the lock is on
// the directory itself. The lock ends with close or with the process.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	const pause = 50 * time.Millisecond
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for another command that changes %s: %w", dir, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}
