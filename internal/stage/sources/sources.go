// Package sources brings a project directory to a commit with git. Of what an earlier job left in the
// directory nothing is trusted: objects are used again, everything that git would obey is made anew.
package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// Touches reports whether the strategy works on the repository (and so runs the stage's hooks).
func Touches(s *stage.Sources) bool {
	return s.Strategy == "fetch" || s.Strategy == "clone"
}

// Get brings the project directory to the commit, in up to Attempts attempts. The lines it
// writes are GitLab Runner's (shells/abstract.go).
func Get(ctx context.Context, tk *task.Task, s *stage.Sources) stage.Result {
	switch s.Strategy {
	case "none":
		tk.Log.Notice("Skipping Git repository setup")
		return skipped(tk, s)
	case "empty":
		tk.Log.Notice("Skipping Git repository setup and creating an empty build directory")
		if err := emptyDir(tk.Spec.Dir); err != nil {
			return task.System(err)
		}
		return skipped(tk, s)
	case "fetch", "clone":
	default:
		return task.System(fmt.Errorf("unknown GIT_STRATEGY %q; use clone, fetch, none or empty", s.Strategy))
	}
	g, err := newRepository(tk, s)
	if err != nil {
		return task.System(err)
	}
	var before int64
	if s.Strategy == "fetch" {
		before = fetched(g.gitDir)
	}
	for attempt := 1; ; attempt++ {
		err = g.attempt(ctx, attempt > 1)
		if err == nil {
			return stage.Result{Usage: &stage.Usage{Fetched: max(0, fetched(g.gitDir)-before)}}
		}
		if attempt >= s.Attempts || ctx.Err() != nil {
			return gitResult(err)
		}
		tk.Log.Warn("WARNING: Retrying...")
		if werr := wait(ctx, backoff(attempt)); werr != nil {
			return gitResult(err)
		}
	}
}

// skipped ends the strategies that do nothing; submodules need a repository.
func skipped(tk *task.Task, s *stage.Sources) stage.Result {
	if s.Submodules.Strategy == "none" || s.Submodules.Strategy == "" {
		tk.Log.Notice("Skipping Git submodules setup")
	}
	return stage.Result{}
}

// gitResult turns the end of an attempt into the stage's.
func gitResult(err error) stage.Result {
	var ge *gitError
	if errors.As(err, &ge) {
		res := task.Failed(ge.exit)
		res.Message = err.Error()
		return res
	}
	if errors.Is(err, errAttemptTimeout) {
		return stage.Result{Reason: stage.Timeout, Message: err.Error()}
	}
	return task.System(err)
}

// gitError says that a git command ended with an exit code other than 0.
type gitError struct {
	command string // the subcommand
	exit    stage.Exit
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: exit code %d", e.command, e.exit.Code)
}

var errAttemptTimeout = errors.New("get_sources took longer than its timeout")

func backoff(attempt int) time.Duration {
	return min(time.Second<<(attempt-1), 5*time.Second)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// repository is the git repository of a stage.
type repository struct {
	r       *task.Task
	s       *stage.Sources
	dir     string // the work tree
	gitDir  string
	lfs     bool // git-lfs is installed and wanted
	env     []string
	empty   bool   // the work tree holds nothing yet
	reused  bool   // objects of an earlier job are in use
	adopted bool   // also in submodules
	old     string // the commit that the work tree of an earlier job probably has; a hint, empty when unknown
}

func newRepository(tk *task.Task, s *stage.Sources) (*repository, error) {
	if tk.Place.Git == "" {
		return nil, errors.New("there is no git here; install it, or set GIT_STRATEGY to none")
	}
	if !isHash(s.SHA, s.ObjectFormat) {
		return nil, fmt.Errorf("%q is not a commit of a %s repository", s.SHA, objectFormat(s))
	}
	if _, err := url.Parse(s.URL); err != nil {
		return nil, errors.New("the repository's URL cannot be parsed")
	}
	g := &repository{r: tk, s: s, dir: tk.Spec.Dir, gitDir: filepath.Join(tk.Spec.Dir, ".git")}
	g.lfs = !s.LFSSkip && tk.LookPath("git-lfs") != ""
	g.env = g.environ()
	return g, nil
}

// objectFormat is the repository's object format.
func objectFormat(s *stage.Sources) string {
	if s.ObjectFormat == "" {
		return "sha1"
	}
	return s.ObjectFormat
}

// attempt is one try, within Sources.Timeout. A clean one begins with an empty directory.
func (g *repository) attempt(ctx context.Context, clean bool) error {
	if g.s.Timeout > 0 {
		c, cancel := context.WithTimeoutCause(ctx, g.s.Timeout, errAttemptTimeout)
		defer cancel()
		ctx = c
	}
	if clean {
		g.r.Log.Notice("Deleting tracked and untracked files...")
	}
	if clean || g.s.Strategy == "clone" {
		if err := emptyDir(g.dir); err != nil {
			return err
		}
	}
	err := g.get(ctx)
	if err != nil && ctx.Err() == nil && g.suspect(ctx, err) {
		g.r.Log.Warn("The repository that an earlier job left cannot be used (%v); starting with an empty one.", err)
		if err := emptyDir(g.dir); err != nil {
			return err
		}
		err = g.get(ctx)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// suspect reports whether an error may come from what an earlier job left. A fetch fails also when the
// server cannot be reached, refuses the login or has no such branch: then all that is here stays.
func (g *repository) suspect(ctx context.Context, err error) bool {
	if errors.Is(err, fs.ErrPermission) {
		return true // a job can take the permission from itself
	}
	if !g.reused {
		return false
	}
	var ge *gitError
	if !errors.As(err, &ge) {
		return errors.Is(err, errTampered)
	}
	if ge.command != "fetch" {
		return true
	}
	var names []string
	for _, spec := range g.s.Refspecs {
		name, _, _ := strings.Cut(strings.TrimPrefix(spec, "+"), ":")
		if strings.HasPrefix(name, "refs/") && !strings.Contains(name, "*") {
			names = append(names, name)
		}
	}
	var out bytes.Buffer
	if err := g.gitTo(ctx, &out, nil, append([]string{"ls-remote", "--", "origin"}, names...)...); err != nil {
		return false
	}
	return !slices.ContainsFunc(names, func(name string) bool {
		return !strings.Contains(out.String(), "\t"+name+"\n")
	})
}

// get is what an attempt does.
func (g *repository) get(ctx context.Context) error {
	g.reused, g.adopted, g.empty, g.old = false, false, false, ""
	if g.useNativeClone(ctx) {
		if err := g.clone(ctx); err != nil {
			return err
		}
	} else if err := g.fetch(ctx); err != nil {
		return err
	}
	if err := g.takeBack(); err != nil {
		return err
	}
	if !g.s.Checkout {
		if err := g.skipCheckout(ctx); err != nil {
			return err
		}
	} else if err := g.checkout(ctx); err != nil {
		return err
	}
	if err := g.submodules(ctx); err != nil {
		return err
	}
	return g.collect(ctx)
}

// emptyDir removes everything in dir, not dir itself (it may be a mount point).
func emptyDir(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o700 != 0o700 {
		_ = os.Chmod(dir, st.Mode().Perm()|0o700) // what cannot be removed will say so
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := tree.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// isHash reports whether s is a whole object name of the format.
func isHash(s, format string) bool {
	n := 40
	if format == "sha256" {
		n = 64
	}
	return len(s) == n && isHex(s)
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}

// fullClean reports whether git clean leaves nothing that git does not track: then what the
// work tree held before need not be known.
func fullClean(flags []string) bool {
	var d, x bool
	for _, f := range flags {
		switch {
		case strings.HasPrefix(f, "-e"), strings.HasPrefix(f, "--exclude"), !strings.HasPrefix(f, "-"):
			return false
		case strings.HasPrefix(f, "--"):
		case strings.ContainsAny(f, "eXn"):
			return false
		default:
			d, x = d || strings.Contains(f, "d"), x || strings.Contains(f, "x")
		}
	}
	return d && x && !slices.Contains(flags, "--dry-run")
}
