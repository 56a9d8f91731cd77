package sources

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// haveRefs is where the commits that an earlier job left are named while git fetches, so that they
// need not be sent again.
const haveRefs = "refs/skerry"

// reclaim makes .git. Of one that an earlier job left only the objects and the list of shallow
// commits are kept, and only as far as they are plain files: everything else that git would read
// (configuration, hooks, index, references, links to other places) could run that job's code in this
// job's name. It reports whether there had been a repository.
func (g *repository) reclaim() (existed bool, err error) {
	st, err := os.Lstat(g.gitDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		existed = false
	case err != nil:
		return false, err
	case st.IsDir():
		existed = true
	default:
		if err := tree.RemoveAll(g.gitDir); err != nil {
			return false, err
		}
	}
	if err := g.clearNested(); err != nil {
		return false, err
	}
	var haves []string
	if existed {
		if err := g.setModulesAside(); err != nil {
			return false, err
		}
		k := keeper{dir: g.gitDir, format: objectFormat(g.s), partial: hasFilter(g.s.FetchFlags), spare: oldModules}
		if haves, err = k.keep(); err != nil {
			return false, err
		}
		g.old = k.head
		g.reused = len(haves) > 0
	}
	return existed, g.initialise(haves)
}

// Disarm makes a used directory safe for a hook that runs there before Get: a git of the hook must not obey
// what an earlier job left. The hook finds a repository at the commit of that job, without an index.
func Disarm(tk *task.Task, s *stage.Sources) error {
	g, err := newRepository(tk, s)
	if err != nil {
		return nil //nolint:nilerr // Get will say so
	}
	if _, err := os.Lstat(g.gitDir); errors.Is(err, fs.ErrNotExist) {
		return g.clearNested()
	}
	if _, err := g.reclaim(); err != nil || g.old == "" {
		return err
	}
	return os.WriteFile(filepath.Join(g.gitDir, "HEAD"), []byte(g.old+"\n"), 0o666)
}

// clearNested removes each directory of the work tree that is a repository of its own: git clean
// does not see a .git beside tracked files, and a command there would obey it.
func (g *repository) clearNested() error {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		g.empty = true
		return nil
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != ".git" {
			if err := clearRepositories(filepath.Join(g.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func clearRepositories(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrPermission) {
		return tree.RemoveAll(dir) // git could not clean it either
	}
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == ".git" {
			return tree.RemoveAll(dir)
		}
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := clearRepositories(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// initialise writes what git init and git remote add would, without starting them.
func (g *repository) initialise(haves []string) error {
	for _, d := range []string{".", "objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags", "info"} {
		if err := os.Mkdir(filepath.Join(g.gitDir, d), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make the repository: %w", err)
		}
	}
	if err := writeHaves(g.gitDir, haves); err != nil {
		return err
	}
	if err := create(filepath.Join(g.gitDir, "config"), g.config()); err != nil {
		return err
	}
	return create(filepath.Join(g.gitDir, "HEAD"), "ref: refs/heads/none\n")
}

// create writes a new file.
func create(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o666)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	return errors.Join(err, f.Close())
}

// writeHaves names commits so that git finds them.
func writeHaves(gitDir string, haves []string) error {
	if len(haves) == 0 {
		return nil
	}
	dir := filepath.Join(gitDir, haveRefs)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, h := range haves {
		if err := create(filepath.Join(dir, h), h+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// config is the content of .git/config. It holds no credential: git in the job's script asks a
// helper that answers with the job's own CI_JOB_TOKEN, as GitLab Runner's does with
// FF_GIT_URLS_WITHOUT_TOKENS.
func (g *repository) config() string {
	var b strings.Builder
	version := 0
	if objectFormat(g.s) != "sha1" {
		version = 1
	}
	fmt.Fprintf(&b, "[core]\n\trepositoryformatversion = %d\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n", version)
	if version == 1 {
		b.WriteString("[extensions]\n\tobjectFormat = " + quoteConfig(objectFormat(g.s)) + "\n")
	}
	b.WriteString("[remote \"origin\"]\n\turl = " + quoteConfig(g.cleanURL()) + "\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n")
	return b.String() + g.extraConfig()
}

// extraConfig is what a repository's configuration holds beside git's own.
func (g *repository) extraConfig() string {
	return "[init]\n\tdefaultBranch = none\n[fetch]\n\trecurseSubmodules = false\n[gc]\n\tautoDetach = false\n" +
		"[credential]\n\tinteractive = never\n" + g.access()
}

// access is the part of a repository's configuration that lets the job's script reach the coordinator's host.
func (g *repository) access() string {
	var b strings.Builder
	for _, host := range g.hosts() {
		if g.s.Password != "" {
			b.WriteString("[credential " + quoteConfig(host) + "]\n\thelper =\n\thelper = " +
				quoteConfig(`!f() { test "$1" = get && echo "password=$CI_JOB_TOKEN"; }; f`) +
				"\n\tusername = " + quoteConfig(g.s.Username) + "\n")
		}
	}
	for _, f := range g.tls() {
		i := strings.LastIndexByte(f.key, '.')
		b.WriteString("[http " + quoteConfig(strings.TrimPrefix(f.key[:i], "http.")) + "]\n\t" + f.key[i+1:] + " = " + quoteConfig(f.value) + "\n")
	}
	return b.String()
}

// quoteConfig makes s one quoted value (or subsection) of a git configuration file.
func quoteConfig(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\b", `\b`).Replace(s) + `"`
}

func hasFilter(flags []string) bool {
	for _, f := range flags {
		if strings.HasPrefix(f, "--filter") {
			return true
		}
	}
	return false
}
