package proc

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what a process can write ahead of the agent.
const pipeSize = 256 << 10

// stdio collects what a process needs of descriptors.
type stdio struct {
	opened  []int    // to be closed once the process has them
	outputs *outputs // nil while no output goes through a pipe
}

func (s *stdio) release() {
	for _, fd := range s.opened {
		_ = unix.Close(fd)
	}
	if s.outputs != nil {
		s.outputs.close()
	}
}

func (s *stdio) null(mode int) (uintptr, error) {
	fd, err := unix.Open(os.DevNull, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	s.opened = append(s.opened, fd)
	return uintptr(fd), nil
}

func (s *stdio) input(f *os.File) (uintptr, error) {
	if f == nil {
		return s.null(unix.O_RDONLY)
	}
	return f.Fd(), nil
}

func (s *stdio) output(w io.Writer) (uintptr, error) {
	if w == nil {
		return s.null(unix.O_WRONLY)
	}
	if f, ok := w.(*os.File); ok {
		return f.Fd(), nil
	}
	if s.outputs == nil {
		o, err := newOutputs()
		if err != nil {
			return 0, err
		}
		s.outputs = o
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe for a process's output: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one works as well
	s.opened = append(s.opened, p[1])
	if err := s.outputs.add(p[0], w); err != nil {
		return 0, err
	}
	return uintptr(p[1]), nil
}
