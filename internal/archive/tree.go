package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openDirs is how many directories a tree keeps open.
const openDirs = 64

// tree gives out descriptors of directories beneath a root and keeps the latest ones open, so that
// a file costs one openat instead of a walk. It belongs to one goroutine.
type tree struct {
	root    *os.Root
	top     *os.File
	open    map[string]int
	order   []string // of opening, the oldest first
	byRoot  bool     // openat2 is not available
	lastDir string   // the latest answer
	lastFD  int
}

func newTree(root *os.Root) (*tree, error) {
	top, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	return &tree{root: root, top: top, open: make(map[string]int), lastFD: -1}, nil
}

func (t *tree) close() {
	for _, fd := range t.open {
		_ = unix.Close(fd)
	}
	t.open = nil
	_ = t.top.Close()
}

// dir returns a descriptor of a directory, good for the *at calls until the next call of dir or make.
func (t *tree) dir(name string) (int, error) {
	if t.lastFD >= 0 && name == t.lastDir {
		return t.lastFD, nil
	}
	if name == "." {
		return int(t.top.Fd()), nil
	}
	fd, ok := t.open[name]
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

func (t *tree) keep(name string, fd int) {
	if len(t.order) >= openDirs {
		oldest := t.order[0]
		t.order = append(t.order[:0], t.order[1:]...)
		_ = unix.Close(t.open[oldest])
		delete(t.open, oldest)
	}
	t.open[name] = fd
	t.order = append(t.order, name)
}

func (t *tree) resolve(name string) (int, error) {
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

// make is dir, but makes the directory and those above it when they are missing.
func (t *tree) make(name string) (int, error) {
	fd, err := t.dir(name)
	if !errors.Is(err, fs.ErrNotExist) || name == "." {
		return fd, err
	}
	above, err := t.make(path.Dir(name))
	if err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(above, path.Base(name), 0o777); err != nil && err != unix.EEXIST {
		return -1, &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return t.dir(name)
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

// openFile opens a file to read it. It neither follows a link in the last place nor waits for a pipe.
func (t *tree) openFile(name string) (int, error) {
	dir, err := t.dir(path.Dir(name))
	if err != nil {
		return -1, err
	}
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(dir, path.Base(name), flags, 0) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// stat is lstat.
func (t *tree) stat(name string, st *unix.Stat_t) error {
	dir, err := t.dir(path.Dir(name))
	if err != nil {
		return err
	}
	if err := unix.Fstatat(dir, path.Base(name), st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return nil
}

func (t *tree) readlink(name string) (string, error) {
	dir, err := t.dir(path.Dir(name))
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

// cleanName returns an entry's name in its shortest form, without a slash at the end. Names that
// are absolute, climb out or hold a NUL are refused.
func cleanName(name string) (string, error) {
	if !filepath.IsLocal(name) || strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("entry %q is outside of the directory: %w", name, ErrUnsafe)
	}
	return path.Clean(name), nil
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
