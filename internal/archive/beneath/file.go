package beneath

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
)

// OpenSame is Open for a file that st was taken of; what was put in its place meanwhile is refused. It
// fills st anew.
func (t *Tree) OpenSame(name string, st *unix.Stat_t) (int, error) {
	fd, err := t.Open(name)
	if err != nil {
		return -1, err
	}
	var now unix.Stat_t
	switch err := unix.Fstat(fd, &now); {
	case err != nil:
		_ = unix.Close(fd)
		return -1, &fs.PathError{Op: "stat", Path: name, Err: err}
	case now.Ino != st.Ino || now.Dev != st.Dev:
		_ = unix.Close(fd)
		return -1, fmt.Errorf("file %q was replaced while it was archived", name)
	}
	*st = now
	return fd, nil
}

// ReadFile fills buf with a file's content and returns the part that there was.
func (t *Tree) ReadFile(name string, buf []byte) ([]byte, error) {
	fd, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // it was only read
	n, err := ReadAt(fd, name, buf, 0)
	return buf[:n], err
}

// Create makes a new file in place of whatever has the name, but for a directory that is not empty, and
// returns its descriptor, which is the caller's. Missing directories are made.
func (t *Tree) Create(name string, perm uint32) (int, error) {
	dir, err := t.Make(path.Dir(name))
	if err != nil {
		return -1, err
	}
	base := path.Base(name)
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	for try := 0; ; try++ {
		fd, err := Retry(func() (int, error) { return unix.Openat(dir, base, flags, perm) })
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EEXIST) || try > 8 {
			return -1, &fs.PathError{Op: "create", Path: name, Err: err}
		}
		if err := remove(dir, base); err != nil {
			return -1, &fs.PathError{Op: "replace", Path: name, Err: err}
		}
	}
}

// Symlink makes a link in place of whatever has the name, but for a directory that is not empty, and returns
// the descriptor of the directory that it is in, as Dir does.
func (t *Tree) Symlink(target, name string) (dir int, err error) {
	if dir, err = t.Make(path.Dir(name)); err != nil {
		return -1, err
	}
	if err := remove(dir, path.Base(name)); err != nil {
		return -1, &fs.PathError{Op: "replace", Path: name, Err: err}
	}
	if err := unix.Symlinkat(target, dir, path.Base(name)); err != nil {
		return -1, &fs.PathError{Op: "symlink", Path: name, Err: err}
	}
	return dir, nil
}

// remove removes a file, a link or an empty directory.
func remove(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if err == unix.EISDIR || err == unix.EPERM {
		err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	}
	if err == unix.ENOENT {
		return nil
	}
	return err
}

// SetTime sets the modification time of base in the directory dir; the access time is now.
func SetTime(dir int, base string, mtime unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_NOW}, mtime}
	return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
}

// ReadAt reads up to len(buf) bytes at off and returns fewer only at the end of the file. The name is for errors.
func ReadAt(fd int, name string, buf []byte, off int64) (int, error) {
	got := 0
	for got < len(buf) {
		n, err := Retry(func() (int, error) { return unix.Pread(fd, buf[got:], off+int64(got)) })
		if err != nil {
			return got, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			break
		}
		got += n
	}
	return got, nil
}

// Write writes all of b. The name is for errors.
func Write(fd int, name string, b []byte) error {
	for len(b) > 0 {
		n, err := Retry(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return &fs.PathError{Op: "write", Path: name, Err: err}
		}
		b = b[n:]
	}
	return nil
}
