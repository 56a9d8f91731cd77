package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// listUntracked writes the names of files that git does not track to out, each ended by a NUL. The
// job owns .git by now: nothing in it may make git run a program or reach for a remote.
func listUntracked(ctx context.Context, tk *task.Task, out io.Writer) error {
	if tk.Place.Git == "" {
		return errors.New("git is not installed here; install it, or name the files in paths")
	}
	env := tk.Env.Clone()
	for _, k := range []string{
		"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
		"GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT",
	} {
		env.Unset(k)
	}
	env.Set("GIT_CEILING_DIRECTORIES", filepath.Dir(filepath.Clean(tk.Spec.Dir)))
	env.Set("GIT_OPTIONAL_LOCKS", "0")
	env.Set("GIT_NO_LAZY_FETCH", "1")
	env.Set("GIT_ALLOW_PROTOCOL", "none")
	env.Set("GIT_TERMINAL_PROMPT", "0")
	e, err := tk.Exec(ctx, stage.Command{
		Path: tk.Place.Git,
		Args: []string{
			"git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
			"-c", "core.untrackedCache=false", "ls-files", "-o", "-z",
		},
		Env: env.List(), Dir: tk.Spec.Dir, Stdout: out, Stderr: tk.Place.Stderr,
	})
	if err == nil && e.Code != 0 {
		err = fmt.Errorf("exit status %d", e.Code)
	}
	return err
}
