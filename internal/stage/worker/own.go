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
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// own gives what s names to its user.
func own(ctx context.Context, base string, s *stage.Own) stage.Result {
	if err := ownAll(ctx, base, s); err != nil && (!s.Shut || ctx.Err() != nil) {
		return task.System(fmt.Errorf("give the project to the job's user %d:%d: %w", s.UID, s.GID, err))
	}
	return stage.Result{}
}

func ownAll(ctx context.Context, base string, s *stage.Own) error {
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer root.Close()
	o := owner{root: root, base: base, spec: s}
	var errs []error
	for _, dir := range s.Dirs {
		errs = append(errs, o.give(ctx, dir, false))
	}
	for _, dir := range s.Paths {
		errs = append(errs, o.give(ctx, dir, true))
	}
	return errors.Join(errs...)
}

// owner gives what is below base, where nothing is trusted.
type owner struct {
	root *os.Root
	base string
	spec *stage.Own
}

func (o owner) give(ctx context.Context, dir string, whole bool) error {
	name, err := filepath.Rel(o.base, dir)
	if err != nil {
		return err
	}
	if err := tree.Make(o.base, dir); err != nil {
		return err
	}
	if !o.due(name) {
		return nil
	}
	if !whole {
		return o.root.Lchown(name, o.spec.UID, o.spec.GID)
	}
	return fs.WalkDir(o.root.FS(), name, func(name string, e fs.DirEntry, err error) error {
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
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == o.spec.UID && int(st.Gid) == o.spec.GID {
			return nil
		}
		return o.root.Lchown(name, o.spec.UID, o.spec.GID)
	})
}

// everybody is the mode of a directory that everybody may write.
const everybody = 0o003

// due reports whether a directory is to be given.
func (o owner) due(name string) bool {
	if !o.spec.Shut {
		return true
	}
	info, err := o.root.Lstat(name)
	if err != nil {
		return true
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(st.Uid) != o.spec.UID && info.Mode().Perm()&everybody != everybody
}
