package nixpush

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// directory is a cache in a directory.
type directory struct {
	dir   string
	sweep sync.Once
}

func (d *directory) String() string { return "file://" + d.dir }

// Has implements Cache.
func (d *directory) Has(_ context.Context, name string) (bool, error) {
	_, err := os.Stat(filepath.Join(d.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Get implements Cache.
func (d *directory) Get(_ context.Context, name string) ([]byte, bool, error) {
	f, err := os.Open(filepath.Join(d.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxGot))
	return content, err == nil, err
}

// fresh begins the names of files that are being written.
const fresh = ".new-"

// Put implements Cache.
func (d *directory) Put(ctx context.Context, name string, o Object) (err error) {
	d.sweep.Do(d.removeLeft)
	at := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // others read it
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(at), fresh+"*")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), at)
		}
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", at, err)
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) { // a smaller one may have room
				err = &RefusedError{err}
			}
			return
		}
		persist(filepath.Dir(at))
	}()
	if _, err := io.Copy(f, whileAlive{ctx, o.reader()}); err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o644), f.Sync()) //nolint:gosec // others read it
}

// persist has a directory's names outlive a loss of power, in their order. Not every file system can.
func persist(dir string) {
	if f, err := os.Open(dir); err == nil {
		_ = f.Sync()
		_ = f.Close()
	}
}

// leftFor is how long nothing was written to a file that somebody has left who was killed.
const leftFor = 24 * time.Hour

// removeLeft removes what pushers have left that were killed in the middle of a file.
func (d *directory) removeLeft() {
	for _, dir := range []string{d.dir, filepath.Join(d.dir, "nar")} {
		entries, _ := os.ReadDir(dir) // a new one has none
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), fresh) {
				continue
			}
			if i, err := e.Info(); err == nil && time.Since(i.ModTime()) > leftFor {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// whileAlive reads until a context ends.
type whileAlive struct {
	ctx context.Context //nolint:containedctx // that of one copy
	r   io.Reader
}

func (w whileAlive) Read(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.r.Read(p)
}
