package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Follow returns a reader of the log from byte from on, which waits for more until the log is complete or ctx ends.
// It is valid after the Trace is closed and its directory removed: what is missing then never comes. The caller closes it.
func (t *Trace) Follow(ctx context.Context, from int64) (io.ReadCloser, error) {
	if size, _, _ := t.Size(); from < 0 || from > size {
		return nil, fmt.Errorf("the job's log has %d bytes, so it cannot be read from byte %d on", size, from)
	}
	file, err := os.Open(filepath.Join(t.opts.Dir, logName))
	if err != nil {
		return nil, fmt.Errorf("open the job's log: %w", err)
	}
	return &fileFollower{follower: follower{ctx: ctx, t: t, off: from, file: file}, file: file}, nil
}

type fileFollower struct {
	follower

	file *os.File
}

func (f *fileFollower) Close() error { return f.file.Close() }

// Tail returns where the last n lines of what there is of the log begin.
func (t *Trace) Tail(n int) (int64, error) {
	size, _, _ := t.Size()
	buf := make([]byte, 32<<10)
	end := size
	for lines := 0; end > 0; {
		from := max(end-int64(len(buf)), 0)
		b := buf[:end-from]
		if _, err := t.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for len(b) > 0 {
			i := bytes.LastIndexByte(b, '\n')
			if i < 0 {
				break
			}
			if at := from + int64(i) + 1; at < size { // the newline that ends the log begins no line
				if lines++; lines >= n {
					return at, nil
				}
			} else if n == 0 {
				return size, nil
			}
			b = b[:i]
		}
		end = from
	}
	if n == 0 {
		return size, nil
	}
	return 0, nil
}
