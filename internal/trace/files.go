package trace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The files of a job's directory, all 0600.
const (
	outlineFile    = "outline"
	logName        = "log"
	checkpointFile = "checkpoint"
	sentFile       = "sent"
)

// fault stands between the trace and the system calls that change files; tests end the "process" in
// it. It returns how many of the n bytes about to be written are written before err.
type fault func(op string, n int) (int, error)

func (f fault) check(op string, n int) (int, error) {
	if f == nil {
		return n, nil
	}
	return f(op, n)
}

// logFile is the log as far as it has been made.
type logFile struct {
	f     *os.File
	fault fault
	last  byte // of the bytes written; 0 when there are none
}

func openLog(dir string, f fault) (*logFile, error) {
	file, err := os.OpenFile(filepath.Join(dir, logName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the job's log: %w", err)
	}
	return &logFile{f: file, fault: f}, nil
}

// cut forgets everything from size on.
func (l *logFile) cut(size int64) error {
	st, err := l.f.Stat()
	if err == nil && st.Size() < size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && st.Size() > size {
		if _, err = l.fault.check("log", 0); err == nil {
			err = l.f.Truncate(size)
		}
	}
	l.last = 0
	if err == nil && size > 0 {
		var b [1]byte
		_, err = l.f.ReadAt(b[:], size-1)
		l.last = b[0]
	}
	if err != nil {
		return fmt.Errorf("cut the job's log to %d bytes: %w", size, err)
	}
	return nil
}

func (l *logFile) writeAt(p []byte, off int64) error {
	n, err := l.fault.check("log", len(p))
	_, werr := l.f.WriteAt(p[:n], off)
	if err = errors.Join(err, werr); err != nil {
		return fmt.Errorf("write the job's log: %w", err)
	}
	l.last = p[len(p)-1]
	return nil
}

// replace writes a file of dir anew, by rename.
func replace(dir, name string, content []byte, f fault) error {
	path := filepath.Join(dir, name)
	n, err := f.check(name, len(content))
	if werr := os.WriteFile(path+".new", content[:n], 0o600); err == nil {
		err = werr
	}
	if err == nil {
		_, err = f.check(name+" rename", 0)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
