package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// listUntracked writes the names of files that git does not track to out, each ended by a NUL. The
// job owns .git by now: nothing in it may make git run a program or reach for a remote.
func (r *run) listUntracked(ctx context.Context, out io.Writer) error {
	if r.place.Git == "" {
		return errors.New("git is not installed here; install it, or name the files in paths")
	}
	env := r.env.clone()
	for _, k := range []string{
		"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
		"GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT",
	} {
		env.unset(k)
	}
	env.set("GIT_CEILING_DIRECTORIES", filepath.Dir(filepath.Clean(r.spec.Dir)))
	env.set("GIT_OPTIONAL_LOCKS", "0")
	env.set("GIT_NO_LAZY_FETCH", "1")
	env.set("GIT_ALLOW_PROTOCOL", "none")
	env.set("GIT_TERMINAL_PROMPT", "0")
	e, err := r.exec(ctx, Command{
		Path: r.place.Git,
		Args: []string{
			"git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
			"-c", "core.untrackedCache=false", "ls-files", "-o", "-z",
		},
		Env: env.list(), Dir: r.spec.Dir, Stdout: out, Stderr: r.place.Stderr,
	})
	if err == nil && e.Code != 0 {
		err = fmt.Errorf("exit status %d", e.Code)
	}
	return err
}
