// Package beneath does file work below a directory that is never left, with one system call a file:
// parent directories are resolved by the kernel (openat2, RESOLVE_BENEATH) or, where that call is not
// available, by os.Root, and stay open for the next file. The last component is never followed.
package beneath

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// openDirs is how many directories a Tree keeps open.
const openDirs = 64

// Tree gives out descriptors of directories beneath a root and keeps the latest ones open, so that
// a file costs one openat instead of a walk. Names are slash-separated, clean and local
// (filepath.IsLocal). It belongs to one goroutine.
type Tree struct {
	root    *os.Root
	top     *os.File
	opened  map[string]int
	order   []string // of opening, the oldest first
	byRoot  bool     // openat2 is not available
	lastDir string   // the latest answer
	lastFD  int
}

// New returns a Tree beneath root, which stays the caller's. Close must be called.
func New(root *os.Root) (*Tree, error) {
	top, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	return &Tree{root: root, top: top, opened: make(map[string]int), lastFD: -1}, nil
}

// Close closes all descriptors.
func (t *Tree) Close() {
	for _, fd := range t.opened {
		_ = unix.Close(fd)
	}
	t.opened = nil
	_ = t.top.Close()
}

// Dir returns a descriptor (O_PATH) of a directory, good for the *at calls until the next call of a method.
func (t *Tree) Dir(name string) (int, error) {
	if t.lastFD >= 0 && name == t.lastDir {
		return t.lastFD, nil
	}
	if name == "." {
		return int(t.top.Fd()), nil
	}
	fd, ok := t.opened[name]
	if !ok {
		var err error
		if fd, err = t.resolve(name); err != nil {
			return -1, err
		}
		t.keep(name, fd)
	}
	t.lastDir, t.lastFD = name, fd
	return fd, nil
}

func (t *Tree) keep(name string, fd int) {
	if len(t.order) >= openDirs {
		oldest := t.order[0]
		t.order = append(t.order[:0], t.order[1:]...)
		_ = unix.Close(t.opened[oldest])
		delete(t.opened, oldest)
	}
	t.opened[name] = fd
	t.order = append(t.order, name)
}

func (t *Tree) resolve(name string) (int, error) {
	if !t.byRoot {
		fd, err := openBeneath(int(t.top.Fd()), name, unix.O_PATH|unix.O_DIRECTORY, 0)
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return fd, err
		}
		t.byRoot = true // an old kernel, or a seccomp filter that does not know openat2
	}
	f, err := t.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "dup", Path: name, Err: err}
	}
	return fd, nil
}

// Make is Dir, but makes the directory and those above it when they are missing.
func (t *Tree) Make(name string) (int, error) {
	fd, err := t.Dir(name)
	if !errors.Is(err, fs.ErrNotExist) || name == "." {
		return fd, err
	}
	above, err := t.Make(path.Dir(name))
	if err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(above, path.Base(name), 0o777); err != nil && err != unix.EEXIST {
		return -1, &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return t.Dir(name)
}

// openBeneath opens name, which the kernel resolves without ever leaving the directory top: symbolic
// links are followed only while they stay inside.
func openBeneath(top int, name string, flags uint64, mode uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Mode:    mode,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(top, name, &how)
		switch {
		case err == nil:
			return fd, nil
		case err == unix.EINTR, err == unix.EAGAIN && try < 32: // something was renamed meanwhile
			continue
		}
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
}

// Open opens a file to read it and returns its descriptor, which is the caller's. It neither follows a link in the last place nor waits for a pipe.
func (t *Tree) Open(name string) (int, error) {
	dir, err := t.Dir(path.Dir(name))
	if err != nil {
		return -1, err
	}
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := Retry(func() (int, error) { return unix.Openat(dir, path.Base(name), flags, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// Lstat fills st with what name is.
func (t *Tree) Lstat(name string, st *unix.Stat_t) error {
	dir, err := t.Dir(path.Dir(name))
	if err != nil {
		return err
	}
	if err := unix.Fstatat(dir, path.Base(name), st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return nil
}

// Readlink returns the target of a link.
func (t *Tree) Readlink(name string) (string, error) {
	dir, err := t.Dir(path.Dir(name))
	if err != nil {
		return "", err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, path.Base(name), buf)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buf[:n]), nil
}

// Retry repeats a system call that a signal interrupted.
func Retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
