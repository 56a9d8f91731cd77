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
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// oldModules is where the submodules' repositories of an earlier job wait until it is known which are wanted.
const oldModules = "skerry-modules"

// modules is what to do with submodules, as commands of git.
type modules stage.Submodules

// wanted reports whether submodules are to be fetched.
func (s modules) wanted() bool { return s.Strategy == "normal" || s.Strategy == "recursive" }

// submodules brings the submodules to the commits that the work tree names, in GitLab Runner's order.
func (g *repository) submodules(ctx context.Context) error {
	s := modules(g.s.Submodules)
	switch s.Strategy {
	case "", "none":
		g.r.Log.Notice("Skipping Git submodules setup")
		return nil
	case "normal", "recursive":
	default:
		return fmt.Errorf("unknown GIT_SUBMODULE_STRATEGY %q; use none, normal or recursive", s.Strategy)
	}
	g.r.Log.Notice("%s...", s.title())
	_, err := os.Lstat(filepath.Join(g.dir, ".gitmodules"))
	some := err == nil
	if some {
		if err := g.updateSubmodules(ctx); err != nil {
			return err
		}
	} else {
		g.r.Log.Notice("Updated submodules")
	}
	if err := tree.RemoveAll(filepath.Join(g.gitDir, oldModules)); err != nil {
		return err
	}
	g.r.Log.Notice("Configuring submodules to use parent git credentials...")
	if err := g.configureModules(filepath.Join(g.gitDir, "modules")); err != nil {
		return err
	}
	if !g.lfs {
		return nil
	}
	g.r.Log.Notice("Pulling LFS files...")
	if !some {
		return nil
	}
	return g.git(ctx, append(s.foreach(), "git", "lfs", "pull")...)
}

func (s modules) title() string {
	t := "Updating/initializing submodules"
	if s.Strategy == "recursive" {
		t += " recursively"
	}
	if s.Depth > 0 {
		t += " with git depth set to " + strconv.Itoa(s.Depth)
	}
	return t
}

func (s modules) recursive(args ...string) []string {
	if s.Strategy == "recursive" {
		args = append(args, "--recursive")
	}
	return args
}

func (s modules) foreach() []string { return s.recursive("submodule", "foreach") }

func (s modules) update() []string {
	args := s.recursive("submodule", "update", "--init")
	if s.Depth > 0 {
		args = append(args, "--depth", strconv.Itoa(s.Depth))
	}
	return s.withPaths(append(args, s.UpdateFlags...))
}

func (s modules) sync() []string { return s.withPaths(s.recursive("submodule", "sync")) }

func (s modules) withPaths(args []string) []string {
	if len(s.Paths) == 0 {
		return args
	}
	return append(append(args, "--"), s.Paths...)
}

func (g *repository) updateSubmodules(ctx context.Context) error {
	s := modules(g.s.Submodules)
	if err := g.git(ctx, "submodule", "init"); err != nil {
		return err
	}
	if err := g.adoptModules(ctx); err != nil {
		return err
	}
	if err := g.git(ctx, s.sync()...); err != nil {
		return err
	}
	if err := g.git(ctx, s.update()...); err != nil {
		var ge *gitError
		if !errors.As(err, &ge) || ctx.Err() != nil {
			return err
		}
		if err := g.retrySubmodules(ctx); err != nil {
			return err
		}
	} else {
		g.r.Log.Notice("Updated submodules")
		if err := g.git(ctx, s.sync()...); err != nil {
			return err
		}
	}
	if err := g.verifyModules(ctx); err != nil {
		return err
	}
	clean := g.s.CleanFlags
	if len(clean) == 0 {
		clean = []string{"-ffdx"}
	}
	return g.git(ctx, slices.Concat(s.foreach(), []string{"git", "clean"}, clean)...)
}

// retrySubmodules is GitLab Runner's second try: with the branches that --remote may need.
func (g *repository) retrySubmodules(ctx context.Context) error {
	s := modules(g.s.Submodules)
	g.r.Log.Warn("Updating submodules failed. Retrying...")
	steps := [][]string{s.sync(), s.update(), append(s.foreach(), "git", "reset", "--hard")}
	if slices.ContainsFunc(s.UpdateFlags, func(f string) bool { return strings.EqualFold(f, "--remote") }) {
		steps = slices.Insert(steps, 0, append(s.foreach(), "git", "fetch", "origin", "+refs/heads/*:refs/remotes/origin/*"))
	}
	for _, args := range steps {
		if err := g.git(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// setModulesAside moves the submodules' repositories of an earlier job to where git does not look.
func (g *repository) setModulesAside() error {
	from, to := filepath.Join(g.gitDir, "modules"), filepath.Join(g.gitDir, oldModules)
	st, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // none, or set aside already: see Disarm
	}
	if err := errors.Join(err, tree.RemoveAll(to)); err != nil {
		return err
	}
	if !st.IsDir() || !modules(g.s.Submodules).wanted() {
		return tree.RemoveAll(from)
	}
	return os.Rename(from, to)
}

// adoptModules gives each submodule that git has just registered the objects that an earlier job
// left, in a repository made anew. Only the first level: of deeper ones nothing is known yet.
func (g *repository) adoptModules(ctx context.Context) error {
	aside := filepath.Join(g.gitDir, oldModules)
	if _, err := os.Lstat(aside); err != nil {
		return nil
	}
	var out bytes.Buffer
	err := g.gitTo(ctx, &out, nil, "config", "--file", filepath.Join(g.gitDir, "config"), "--null", "--get-regexp", `^submodule\..*\.url$`)
	var ge *gitError
	if err != nil && !errors.As(err, &ge) { // 1: there is none
		return err
	}
	for entry := range strings.SplitSeq(out.String(), "\x00") {
		key, address, ok := strings.Cut(entry, "\n")
		if !ok {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(key, "submodule."), ".url")
		if err := g.adoptModule(aside, name, address); err != nil {
			return fmt.Errorf("submodule %s: %w", name, err)
		}
	}
	return tree.RemoveAll(aside)
}

func (g *repository) adoptModule(aside, name, address string) error {
	if !filepath.IsLocal(name) || !realDirs(aside, name) {
		return nil
	}
	old, dir := filepath.Join(aside, name), filepath.Join(g.gitDir, "modules", name)
	k := keeper{dir: old, format: objectFormat(g.s), partial: hasFilter(g.s.Submodules.UpdateFlags)}
	haves, err := k.keep()
	if err != nil || len(haves) == 0 {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return err
	}
	if err := os.Rename(old, dir); errors.Is(err, fs.ErrExist) {
		return nil // one module's name lies within another's: it is fetched
	} else if err != nil {
		return err
	}
	g.reused, g.adopted = true, true
	module := repository{r: g.r, s: &stage.Sources{URL: address, ObjectFormat: g.s.ObjectFormat}, gitDir: dir}
	return module.initialise(haves)
}

// verifyModules verifies the submodules that may have been made with objects of an earlier job.
func (g *repository) verifyModules(ctx context.Context) error {
	if !g.adopted {
		return nil
	}
	index, err := readIndex(g.gitDir, objectFormat(g.s))
	if err != nil {
		return err
	}
	for _, e := range index {
		if e.mode != modeGitlink {
			continue
		}
		if err := g.verifyModule(ctx, filepath.Join(g.dir, e.name)); err != nil {
			return fmt.Errorf("submodule %s: %w", e.name, err)
		}
	}
	return nil
}

func (g *repository) verifyModule(ctx context.Context, dir string) error {
	link, err := readPlain(filepath.Join(dir, ".git"), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not among GIT_SUBMODULE_PATHS
	}
	gitDir, ok := strings.CutPrefix(strings.TrimSuffix(link, "\n"), "gitdir: ")
	if err != nil || !ok {
		return errTampered
	}
	if !filepath.IsAbs(gitDir) {
		gitDir = filepath.Join(dir, gitDir)
	}
	head, err := readPlain(filepath.Join(gitDir, "HEAD"), 4096)
	if head = strings.TrimSpace(head); err != nil || !isHash(head, objectFormat(g.s)) {
		var out bytes.Buffer
		if err := g.gitTo(ctx, &out, nil, "--git-dir="+gitDir, "rev-parse", "HEAD"); err != nil {
			return err
		}
		head = strings.TrimSpace(out.String())
	}
	index, err := readIndex(gitDir, objectFormat(g.s))
	if err != nil {
		return fmt.Errorf("%w: %w", errTampered, err)
	}
	w := worktree{g: g, dir: dir, gitDir: gitDir, index: index}
	return w.verify(ctx, head)
}

// realDirs reports whether each component of name below dir is a directory and no link.
func realDirs(dir, name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		dir = filepath.Join(dir, part)
		if st, err := os.Lstat(dir); err != nil || !st.IsDir() {
			return false
		}
	}
	return true
}

// configureModules lets git in a submodule reach the coordinator as it can in the project itself,
// and removes the names that adoptModule gave to commits.
func (g *repository) configureModules(modules string) error {
	err := filepath.WalkDir(modules, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		switch e.Name() {
		case "objects", "refs", "logs", "hooks", "info":
			if hasHead(filepath.Dir(path)) {
				return fs.SkipDir
			}
		}
		if !hasHead(path) {
			return nil
		}
		if err := tree.RemoveAll(filepath.Join(path, haveRefs)); err != nil {
			return err
		}
		return appendTo(filepath.Join(path, "config"), g.access())
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// hasHead reports whether dir looks like a git directory.
func hasHead(dir string) bool {
	st, err := os.Lstat(filepath.Join(dir, "HEAD"))
	return err == nil && st.Mode().IsRegular()
}

func appendTo(path, text string) error {
	if text == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// rewrites makes submodules with SSH URLs of the coordinator be fetched over HTTP
// (GIT_SUBMODULE_FORCE_HTTPS; helpers/url/gitauth.go).
func (g *repository) rewrites() []setting {
	s := modules(g.s.Submodules)
	if !s.ForceHTTPS {
		return nil
	}
	base := strings.TrimRight(s.ServerURL, "/")
	if u, err := url.Parse(base); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	host := s.SSHHost
	if host == "" {
		host = s.ServerHost
	}
	if s.SSHPort != "" && s.SSHPort != "22" {
		return []setting{{"url." + base + ".insteadOf", "ssh://git@" + host + ":" + s.SSHPort}}
	}
	return []setting{
		{"url." + base + "/.insteadOf", "git@" + host + ":"},
		{"url." + base + ".insteadOf", "ssh://git@" + host},
	}
}
