package kept

import (
	"context"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unlinked is what files occupy that have no name any more and that processes of this process id namespace still have open, whoever
// they are: this process's user is the owner of the namespace that their users are of, and may take their descriptors, which are in directories
// that it may not look into. A file that is only mapped, or in a message that nobody has taken yet, is not found. Source: user_namespaces(7),
// pidfd_getfd(2).
func Unlinked(ctx context.Context) (Size, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return Size{}, err
	}
	defer proc.Close()
	pids, err := proc.Readdirnames(-1)
	if err != nil {
		return Size{}, err
	}
	o := open{seen: map[file]struct{}{}}
	for _, pid := range pids {
		if n, err := strconv.Atoi(pid); err == nil && n != os.Getpid() {
			o.process(ctx, n)
		}
	}
	return o.total, context.Cause(ctx)
}

// open adds up open files.
type open struct {
	total Size
	seen  map[file]struct{}
}

// process looks at each thread, which may have files of its own. What has ended meanwhile is nothing.
func (o *open) process(ctx context.Context, pid int) {
	o.thread(ctx, pid, pid, 0)
	tasks, err := os.Open("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return
	}
	defer tasks.Close()
	threads, _ := tasks.Readdirnames(-1)
	for _, thread := range threads {
		if tid, err := strconv.Atoi(thread); err == nil && tid != pid {
			o.thread(ctx, pid, tid, unix.PIDFD_THREAD) // Linux 6.9; before it they are not looked at
		}
	}
}

// thread looks at all descriptors that a thread can have.
func (o *open) thread(ctx context.Context, pid, tid, flags int) {
	thread, err := unix.PidfdOpen(tid, flags)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(thread) }()
	for n := range slots(pid, tid) {
		if ctx.Err() != nil {
			return
		}
		fd, err := unix.PidfdGetfd(thread, n, 0)
		switch {
		case err == nil:
			o.look(fd)
			_ = unix.Close(fd)
		case err != unix.EBADF: // it has ended
			return
		}
	}
}

// slots is how many descriptors a thread has room for now. Source: proc_pid_status(5), FDSize.
func slots(pid, tid int) int {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "\nFDSize:")
	line, _, _ := strings.Cut(after, "\n")
	n, _ := strconv.Atoi(strings.TrimSpace(line))
	return n
}

func (o *open) look(fd int) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil || st.Nlink > 0 || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	f := file{st.Dev_major, st.Dev_minor, st.Ino}
	if _, known := o.seen[f]; known || len(o.seen) >= mostLinks {
		return
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(fd, &system); err != nil || inMemory(system.Type) {
		return
	}
	o.seen[f] = struct{}{}
	o.total = o.total.Add(Size{Bytes: int64(st.Blocks) * block, Files: 1})
}

// inMemory reports whether a file system is one that occupies memory.
func inMemory(kind int64) bool {
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC || kind == unix.HUGETLBFS_MAGIC
}
