// Package project is a git repository as a GitLab instance would host it: a bare copy that is
// served by real smart HTTP, the commits that pipelines run for, and the refs that GitLab keeps
// for them. It runs the git command; nothing in the repository it was made from is changed.
package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Project is one hosted repository. It is immutable and safe for concurrent use.
type Project struct {
	ID            int64
	Path          string // "group/name"
	Dir           string // the bare repository
	DefaultBranch string
	ObjectFormat  string // "sha1" or "sha256"
}

// Commit is what a pipeline runs for.
type Commit struct {
	SHA       string
	BeforeSHA string // the parent; all zeros when there is none
	Ref       string // branch or tag name, without refs/heads/ or refs/tags/
	Tag       bool
	Author    string // "Name <mail>"
	Title     string
	Message   string
	Timestamp string // ISO 8601
}

// Mirror copies the repository at src (bare or not) below root, as path ("group/name"). Branches
// and tags are copied, work trees and uncommitted changes are not.
func Mirror(ctx context.Context, src, root, path string, id int64) (*Project, error) {
	abs, err := filepath.Abs(src)
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", src, err)
	}
	p := &Project{ID: id, Path: path, Dir: filepath.Join(root, filepath.FromSlash(path)+".git")}
	if err := os.MkdirAll(filepath.Dir(p.Dir), 0o755); err != nil {
		return nil, fmt.Errorf("directory for repository %q: %w", path, err)
	}
	if _, err := git(ctx, "", "ls-remote", "--quiet", "--", abs); err != nil {
		return nil, errors.New("is no git repository; name one, or make one there with git init")
	}
	if _, err := git(ctx, "", "clone", "--quiet", "--mirror", "--", abs, p.Dir); err != nil {
		return nil, err
	}
	for _, kv := range [][2]string{{"uploadpack.allowAnySHA1InWant", "true"}, {"uploadpack.allowFilter", "true"}, {"http.receivepack", "false"}} {
		if _, err := p.git(ctx, "config", kv[0], kv[1]); err != nil {
			return nil, err
		}
	}
	// A server packs what it hosts. Loose objects are compressed anew for every fetch.
	if _, err := p.git(ctx, "repack", "-d", "-q"); err != nil {
		return nil, err
	}
	if p.ObjectFormat, err = p.git(ctx, "rev-parse", "--show-object-format"); err != nil {
		return nil, err
	}
	if p.DefaultBranch, err = p.git(ctx, "symbolic-ref", "--short", "HEAD"); err != nil {
		p.DefaultBranch = "main"
	}
	return p, nil
}

// Uncommitted says whether the work tree at dir, if there is one, differs from what is committed.
func Uncommitted(ctx context.Context, dir string) bool {
	out, err := git(ctx, dir, "status", "--porcelain", "--untracked-files=no")
	return err == nil && out != ""
}

// Name returns the last part of the project's path.
func (p *Project) Name() string { return p.Path[strings.LastIndexByte(p.Path, '/')+1:] }

// Namespace returns the project's path without its last part.
func (p *Project) Namespace() string {
	if i := strings.LastIndexByte(p.Path, '/'); i >= 0 {
		return p.Path[:i]
	}
	return ""
}

// Update fetches what src has gained since Mirror: branches and tags as they are there now.
func (p *Project) Update(ctx context.Context) error {
	_, err := p.git(ctx, "fetch", "--quiet", "--prune", "origin", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	return err
}

// Resolve finds the branch or tag ref; an empty one means the default branch.
func (p *Project) Resolve(ctx context.Context, ref string) (Commit, error) {
	if ref == "" {
		ref = p.DefaultBranch
	}
	c := Commit{Ref: ref}
	full := "refs/heads/" + ref
	if _, err := p.git(ctx, "show-ref", "--verify", "--quiet", full); err != nil {
		full, c.Tag = "refs/tags/"+ref, true
	}
	if refs, err := p.git(ctx, "for-each-ref", "--count=1", "refs/heads/", "refs/tags/"); err == nil && refs == "" {
		return Commit{}, fmt.Errorf("there is no commit in %s yet; make one", p.Path)
	}
	out, err := p.git(ctx, "log", "-1", "--format=%H%x00%P%x00%an <%ae>%x00%cI%x00%s%x00%B", full, "--")
	if err != nil {
		return Commit{}, fmt.Errorf("no branch or tag %q in %s; name one that is committed there: %w", ref, p.Path, err)
	}
	f := strings.SplitN(out, "\x00", 6)
	if len(f) != 6 {
		return Commit{}, fmt.Errorf("commit of %q in %s cannot be read", ref, p.Path)
	}
	parent, _, _ := strings.Cut(f[1], " ")
	if parent == "" {
		parent = strings.Repeat("0", len(f[0]))
	}
	c.SHA, c.BeforeSHA, c.Author, c.Timestamp, c.Title, c.Message = f[0], parent, f[2], f[3], f[4], f[5]
	return c, nil
}

// File returns the content of path at the commit sha, and whether there is such a file.
func (p *Project) File(ctx context.Context, sha, path string) ([]byte, bool) {
	out, err := p.raw(ctx, "cat-file", "blob", sha+":"+path)
	return out, err == nil
}

// LastChange returns the commit that last changed one of paths at or before sha; empty when none
// of them was ever there. GitLab makes cache keys of files from it.
func (p *Project) LastChange(ctx context.Context, sha string, paths []string) (string, error) {
	return p.git(ctx, append([]string{"log", "-1", "--format=%H", sha, "--"}, paths...)...)
}

// KeepPipeline makes refs/pipelines/id point to sha, as GitLab does while a pipeline runs.
func (p *Project) KeepPipeline(ctx context.Context, id int64, sha string) error {
	_, err := p.git(ctx, "update-ref", "refs/pipelines/"+strconv.FormatInt(id, 10), sha)
	return err
}

func (p *Project) git(ctx context.Context, args ...string) (string, error) {
	return git(ctx, p.Dir, args...)
}

func (p *Project) raw(ctx context.Context, args ...string) ([]byte, error) {
	return run(ctx, p.Dir, args)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := run(ctx, dir, args)
	return strings.TrimRight(string(out), "\n"), err
}

func run(ctx context.Context, dir string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "safe.directory=*"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(environ(), "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(stderr.String()))
		}
		return nil, fmt.Errorf("git %s: %w; is git installed?", args[0], err)
	}
	return out, nil
}

// environ is the process's environment without what would point git at another repository.
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		switch k {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX":
		default:
			env = append(env, kv)
		}
	}
	return env
}
