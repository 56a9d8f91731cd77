package kept

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Unlinked is what files occupy that have no name any more and that processes of this process id namespace still have open, whoever
// they are: this process's user is the owner of the namespace that their users are of. A file that is only mapped, or in a message that
// nobody has taken yet, is not found. Source: proc_pid_fd(5), user_namespaces(7).
func Unlinked() (Size, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return Size{}, err
	}
	defer proc.Close()
	pids, err := proc.Readdirnames(-1)
	if err != nil {
		return Size{}, err
	}
	self := strconv.Itoa(os.Getpid())
	o := open{seen: map[file]struct{}{}}
	for _, pid := range pids {
		if _, err := strconv.Atoi(pid); err == nil && pid != self {
			o.process("/proc/" + pid + "/task")
		}
	}
	return o.total, nil
}

// open adds up open files.
type open struct {
	total Size
	seen  map[file]struct{}
}

// process looks at each thread, which may have files of its own. What has ended meanwhile is nothing.
func (o *open) process(tasks string) {
	for _, thread := range names(tasks) {
		dir := tasks + "/" + thread + "/fd"
		for _, fd := range names(dir) {
			o.look(dir + "/" + fd)
		}
	}
}

func names(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	list, _ := d.Readdirnames(-1)
	return list
}

func (o *open) look(path string) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS, &st); err != nil || st.Nlink > 0 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	f := file{st.Dev_major, st.Dev_minor, st.Ino}
	if _, known := o.seen[f]; known || len(o.seen) >= mostLinks {
		return
	}
	var system unix.Statfs_t
	if err := unix.Statfs(path, &system); err != nil || inMemory(system.Type) {
		return
	}
	o.seen[f] = struct{}{}
	o.total = o.total.Add(Size{Bytes: int64(st.Blocks) * block, Files: 1})
}

// inMemory reports whether a file system is one that occupies memory.
func inMemory(kind int64) bool {
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC || kind == unix.HUGETLBFS_MAGIC
}
