// Package kept measures what a job's own engine keeps on disk, in the engine's container, where nothing has rights over all of
// its files: a process in a user namespace of its own looks at them, which no process of the job has rights over.
package kept

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Size is what files occupy.
type Size struct {
	Bytes int64 `json:"bytes"` // by their blocks: a hole in a file is nothing, and a file with several names counts once
	Files int64 `json:"files"` // files, directories and whatever else has a name
}

// Add is the sum of two sizes.
func (s Size) Add(t Size) Size { return Size{Bytes: s.Bytes + t.Bytes, Files: s.Files + t.Files} }

// Place is a directory whose files count, with everything below it that is mounted nowhere else. It stays the one that was opened, whatever
// becomes of its name, its rights and those of the directories above it.
type Place struct {
	path  string
	since time.Time
	dir   *os.File
}

// Open opens a place. Files that have not changed since count nothing: they are the image's. It is open as long as the program runs.
func Open(path string, since time.Time) (Place, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Place{}, fmt.Errorf("open %q: %w", path, err)
	}
	return Place{path: path, since: since, dir: os.NewFile(uintptr(fd), path)}, nil
}

// Free is what the file system of the place has left.
func (p Place) Free() (Size, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(p.dir.Fd()), &st); err != nil {
		return Size{}, fmt.Errorf("ask what is free at %q: %w", p.path, err)
	}
	return Size{Bytes: int64(st.Bavail) * st.Frsize, Files: int64(st.Ffree)}, nil
}

// The arguments of the agent's program that belong here. After the first two comes a request.
const (
	commandAwait    = "nested-count"   // in a user namespace that has no ids yet
	commandCount    = "nested-counted" // as its root
	commandUnlinked = "nested-unlinked"
)

// request is what the process is to do.
type request struct {
	Places []opened `json:"places"`
	Remove bool     `json:"remove,omitempty"` // the files that count
}

// opened is a place in the process that looks into it.
type opened struct {
	Path  string    `json:"path"` // as it was called
	Since time.Time `json:"since"`
	FD    int       `json:"fd"`
}

// answer is what it says.
type answer struct {
	Size  Size   `json:"size"`
	Error string `json:"error,omitempty"`
}

// Main runs a command; ok is false when args name none of them.
func Main(args []string) (ok bool, err error) {
	switch {
	case len(args) == 2 && args[0] == commandAwait:
		return true, await(args[1])
	case len(args) == 2 && args[0] == commandCount:
		return true, count(args[1], os.Stdout)
	case len(args) == 1 && args[0] == commandUnlinked:
		return true, unlinked(os.Stdout)
	default:
		return false, nil
	}
}

// await waits until the process has ids and becomes the same program with the rights of its namespace's root, which the
// kernel gives to a program that is begun as that.
func await(text string) error {
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for ids: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the agent's own executable: %w", err)
	}
	return syscall.Exec(self, []string{self, commandCount, text}, nil)
}

// count does what the request says.
func count(text string, out io.Writer) error {
	var r request
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return fmt.Errorf("read what to count: %w", err)
	}
	w := walk{links: map[file]struct{}{}, remove: r.Remove}
	var errs []error
	for _, p := range r.Places {
		errs = append(errs, w.place(p))
	}
	return say(out, w.total, errors.Join(errs...))
}

// say answers.
func say(out io.Writer, total Size, err error) error {
	a := answer{Size: total}
	if err != nil {
		a.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(a)
}
