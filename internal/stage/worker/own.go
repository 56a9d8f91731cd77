package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// own gives what s names to its user; a directory that is missing is made, since that user may not make any beside
// the project.
func own(ctx context.Context, s *stage.Own) stage.Result {
	for _, p := range s.Paths {
		if err := ownTree(ctx, p, s.UID, s.GID); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return task.System(fmt.Errorf("give the project to the job's user %d:%d: %w", s.UID, s.GID, err))
		}
	}
	return stage.Result{}
}

func ownTree(ctx context.Context, dir string, uid, gid int) error {
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	top := filepath.Base(dir)
	if err := parent.Mkdir(top, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fs.WalkDir(parent.FS(), top, func(name string, e fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == uid && int(st.Gid) == gid {
			return nil
		}
		return parent.Lchown(name, uid, gid)
	})
}
