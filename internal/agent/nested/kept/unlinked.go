package kept

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// threadsTime is how long it may take to look at the threads of processes, most of which have the descriptors of their process.
const threadsTime = 3 * time.Second

// Unlinked is what files occupy that have no name any more and that processes of this process id namespace still have open, whoever
// they are: this process's user is the owner of the namespace that their users are of, and may take their descriptors, which are in directories
// that it may not look into. A process of its own does it, since to give back what it has taken may last. A file that is only mapped, or in a
// message that nobody has taken yet, is not found, nor one that a thread alone has that threadsTime does not suffice for. Source:
// user_namespaces(7), pidfd_getfd(2).
func Unlinked(ctx context.Context) (Size, error) {
	self, err := os.Executable()
	if err != nil {
		return Size{}, fmt.Errorf("find the agent's own executable: %w", err)
	}
	c, err := start(ctx, []string{self, commandUnlinked}, nil)
	if err != nil {
		return Size{}, fmt.Errorf("begin to look for files without a name: %w", err)
	}
	defer c.end()
	return c.hear(ctx)
}

// unlinked is what that process does.
func unlinked(out io.Writer) error {
	proc, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return err
	}
	var pids []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n != os.Getpid() && n != os.Getppid() {
			pids = append(pids, n)
		}
	}
	o := open{seen: map[file]struct{}{}, patience: threadsTime}
	err = o.processes(pids)
	return say(out, o.total, err)
}

// open adds up open files.
type open struct {
	total    Size
	seen     map[file]struct{}
	patience time.Duration // with threads
}

// processes looks at processes, and then at their threads, which may have files of their own. What has ended meanwhile is nothing.
func (o *open) processes(pids []int) error {
	for _, pid := range pids {
		if err := o.thread(pid, pid, 0); err != nil {
			return err
		}
	}
	end := time.Now().Add(o.patience)
	for _, pid := range pids {
		threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
		if err != nil && !over(err) {
			return err
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil || tid == pid {
				continue
			}
			if time.Now().After(end) {
				return nil
			}
			if err := o.thread(pid, tid, unix.PIDFD_THREAD); err != nil { // Linux 6.9; before it they are not looked at
				return err
			}
		}
	}
	return nil
}

// over reports whether an error says that a process or thread has ended.
func over(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// thread looks at all descriptors of a thread.
func (o *open) thread(pid, tid, flags int) error {
	thread, err := unix.PidfdOpen(tid, flags)
	if over(err) || errors.Is(err, unix.ENOSYS) || flags != 0 && errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(thread) }()
	dir := "/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(tid)
	hidden := false
	for n := range slots(dir) {
		if !hidden { // nothing but files is taken
			to, err := os.Readlink(dir + "/fd/" + strconv.Itoa(n))
			if err == nil && !strings.HasPrefix(to, "/") || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			hidden = err != nil
		}
		fd, err := unix.PidfdGetfd(thread, n, 0)
		switch {
		case err == nil:
			o.look(fd)
			_ = unix.Close(fd)
		case errors.Is(err, unix.EBADF):
		case over(err), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM) && ours(dir):
			return nil
		default:
			return fmt.Errorf("look at the files of the process %d: %w", pid, err)
		}
	}
	return nil
}

// ours reports whether a thread is in this process's user namespace, where nothing of a job is, or has ended. Yama may keep processes there from
// being looked at. Source: Documentation/admin-guide/LSM/Yama.rst.
func ours(dir string) bool {
	its, err := os.Readlink(dir + "/ns/user")
	if err != nil {
		return over(err)
	}
	mine, err := os.Readlink("/proc/self/ns/user")
	return err == nil && its == mine
}

// slots is how many descriptors a thread has room for now. Source: proc_pid_status(5), FDSize.
func slots(dir string) int {
	status, err := os.ReadFile(dir + "/status")
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
