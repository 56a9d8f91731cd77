package kept

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// deepest is how many directories may lie in each other; each takes a descriptor while it is looked into.
	deepest = 2000
	// mostLinks bounds what is remembered of files with several names: more of them count once for each name.
	mostLinks = 1 << 20
	// atOnce is how many names are read of a directory at once.
	atOnce = 1024
	// block is the unit in which the kernel counts what a file occupies. Source: statx(2).
	block = 512
)

// file is what a file is known by.
type file struct {
	major, minor uint32
	inode        uint64
}

// walk adds up files.
type walk struct {
	total  Size
	links  map[file]struct{} // those with several names that have been counted
	remove bool
}

// place counts a place.
func (w *walk) place(p opened) error {
	fd, err := unix.Openat(p.FD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", p.Path, err)
	}
	d := named(fd, p.Path)
	var st unix.Statx_t
	if err := look(d, "", unix.AT_EMPTY_PATH, &st); err != nil {
		return errors.Join(fmt.Errorf("stat %q: %w", p.Path, err), d.Close())
	}
	return w.directory(d, level{mount: st.Mnt_id, since: p.Since})
}

// named is a directory that errors name as it can be shown: the job has made the names.
func named(fd int, name string) *os.File { return os.NewFile(uintptr(fd), strconv.Quote(name)) }

// level is where a walk is.
type level struct {
	mount uint64
	since time.Time
	depth int
}

func look(d *os.File, name string, flags int, st *unix.Statx_t) error {
	return unix.Statx(int(d.Fd()), name, flags|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, st)
}

// directory counts what is in a directory and closes it.
func (w *walk) directory(d *os.File, at level) error {
	defer d.Close()
	if at.depth > deepest {
		return fmt.Errorf("%d directories lie in each other", deepest)
	}
	for {
		names, err := d.Readdirnames(atOnce)
		for _, name := range names {
			if err := w.entry(d, name, at); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, fs.ErrNotExist): // all of it, or it has been removed meanwhile
			return nil
		case err != nil:
			return err
		}
	}
}

// entry counts one name of a directory, and what is below it. What is removed meanwhile is nothing, and neither is a directory that
// not even root of all ids of the engine may look into: nobody of the job can have written to it.
func (w *walk) entry(d *os.File, name string, at level) error {
	var st unix.Statx_t
	err := look(d, name, 0, &st)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stat %q: %w", name, err)
	}
	if st.Mnt_id != at.mount {
		return nil
	}
	counts := !time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec)).Before(at.since)
	if counts {
		w.add(&st)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if w.remove && counts {
			_ = unix.Unlinkat(int(d.Fd()), name, 0) // the job's end removes what stays
		}
		return nil
	case unix.S_IFDIR:
	default:
		return nil
	}
	fd, err := unix.Openat(int(d.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil
	case err != nil:
		return fmt.Errorf("open %q: %w", name, err)
	}
	return w.directory(named(fd, name), level{mount: at.mount, since: at.since, depth: at.depth + 1})
}

func (w *walk) add(st *unix.Statx_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		f := file{st.Dev_major, st.Dev_minor, st.Ino}
		if _, known := w.links[f]; known {
			return
		}
		if len(w.links) < mostLinks {
			w.links[f] = struct{}{}
		}
	}
	w.total = w.total.Add(Size{Bytes: int64(st.Blocks) * block, Files: 1})
}
