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
)

// Size is what files occupy.
type Size struct {
	Bytes int64 `json:"bytes"` // by their blocks: a hole in a file is nothing, and a file with several names counts once
	Files int64 `json:"files"` // files, directories and whatever else has a name
}

// Add is the sum of two sizes.
func (s Size) Add(t Size) Size { return Size{Bytes: s.Bytes + t.Bytes, Files: s.Files + t.Files} }

// Place is a directory whose files count, with everything below it that is mounted nowhere else.
type Place struct {
	Path  string    `json:"path"`
	Since time.Time `json:"since"` // files that have not changed since count nothing: they are the image's
}

// The arguments of the agent's program that belong here. After them comes a request.
const (
	commandAwait = "nested-count"   // in a user namespace that has no ids yet
	commandCount = "nested-counted" // as its root
)

// request is what the process is to do.
type request struct {
	Places []Place `json:"places"`
	Remove bool    `json:"remove,omitempty"` // the files that count
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
	w, a := walk{links: map[file]struct{}{}, remove: r.Remove}, answer{}
	var errs []error
	for _, p := range r.Places {
		errs = append(errs, w.place(p))
	}
	if err := errors.Join(errs...); err != nil {
		a.Error = err.Error()
	}
	a.Size = w.total
	return json.NewEncoder(out).Encode(a)
}
