package config

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

// newFileMode is the mode of a file that was not there before: it holds tokens.
const newFileMode = 0o600

// replacement is a file about to take another one's place. Making it proves that the directory
// can be written before anything is done that needs the outcome kept.
type replacement struct {
	target string
	temp   *os.File
}

// newReplacement makes an empty file beside target with target's owner and mode. The mode is 0600 when
// there is no target, and when every user could read it: what is going to be written may be a secret.
func newReplacement(target string) (_ *replacement, err error) {
	mode, owner, group := fs.FileMode(newFileMode), -1, -1
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
	r := &replacement{target: target, temp: temp}
	defer func() {
		if err != nil {
			r.discard()
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

// commit puts text in the place of the target so that power loss leaves either version whole.
func (r *replacement) commit(text []byte) error {
	_, err := r.temp.Write(text)
	if err == nil {
		err = r.temp.Sync()
	}
	if err == nil {
		err = os.Rename(r.temp.Name(), r.target)
	}
	if err != nil {
		r.discard()
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

// discard removes what is not going to be used. It may be called after commit.
func (r *replacement) discard() {
	if r.temp.Close() == nil {
		_ = os.Remove(r.temp.Name()) // nothing more can be done about a leftover
	}
}

// replace writes text to path by rename, through symbolic links.
func replace(path string, text []byte) error {
	target, err := resolveLinks(path)
	if err != nil {
		return err
	}
	r, err := newReplacement(target)
	if err != nil {
		return err
	}
	return r.commit(text)
}

// resolveLinks follows path to the file that is meant, which need not exist yet.
func resolveLinks(path string) (string, error) {
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

// lockDir takes the lock that all editors of files in dir share. It makes no file: the lock is on
// the directory itself. The lock ends with close or with the process.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
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
