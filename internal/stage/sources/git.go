package sources

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
	"gitlab.com/skerry/skerry/internal/stage/tree"
)

// git runs git with arguments in the work tree; its output is the stage's.
func (g *repository) git(ctx context.Context, args ...string) error {
	return g.gitTo(ctx, g.r.Place.Stdout, g.r.Place.Stderr, args...)
}

func (g *repository) gitTo(ctx context.Context, stdout, stderr io.Writer, args ...string) error {
	return g.gitFrom(ctx, nil, stdout, stderr, args...)
}

func (g *repository) gitFrom(ctx context.Context, stdin *os.File, stdout, stderr io.Writer, args ...string) error {
	e, err := g.r.Exec(ctx, stage.Command{
		Path: g.r.Place.Git, Args: append([]string{"git"}, args...), Dir: g.dir, Env: g.env,
		Stdin: stdin, Stdout: stdout, Stderr: stderr,
	})
	if e.Code != 0 {
		return &gitError{command: subcommand(args), exit: e}
	}
	return err
}

// subcommand is the first argument that is no option of git itself.
func subcommand(args []string) string {
	for i := 0; i < len(args); i++ {
		if args[i] == "-c" || args[i] == "-C" {
			i++
			continue
		}
		if !strings.HasPrefix(args[i], "-") {
			return args[i]
		}
	}
	return ""
}

// setting is one line of configuration.
type setting struct{ key, value string }

// environ is git's environment: the stage's without what would lead git away from the repository,
// and with configuration that only this process and its children see. Credentials travel here and
// nowhere else: another user can read arguments and files, but not the environment.
func (g *repository) environ() []string {
	env := g.r.Env.Clone()
	for _, k := range []string{
		"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX",
		"GIT_TEMPLATE_DIR", "GIT_CONFIG", "GIT_TRACE_REDACT", "GIT_TRACE2_CONFIG_PARAMS", "GIT_TRACE2_ENV_VARS",
	} {
		env.Unset(k)
	}
	env.Set("GIT_TERMINAL_PROMPT", "0")
	env.Set("GCM_INTERACTIVE", "Never")
	if !g.s.LFSSkip {
		env.Set("GIT_LFS_SKIP_SMUDGE", "1") // git lfs pull does it afterwards, with less memory
	}
	settings := g.settings()
	basic := base64.StdEncoding.EncodeToString([]byte(g.s.Username + ":" + g.s.Password))
	for _, host := range g.hosts() {
		if g.s.Password == "" {
			break
		}
		settings = append(settings,
			setting{"http." + host + ".extraHeader", "Authorization: Basic " + basic},
			setting{"credential." + host + ".helper", ""},
			setting{"credential." + host + ".helper", `!f() { test "$1" = get && echo "password=$SKERRY_GIT_PASSWORD"; }; f`},
			setting{"credential." + host + ".username", g.s.Username})
		env.Set("SKERRY_GIT_PASSWORD", g.s.Password)
	}
	params := env.Get("GIT_CONFIG_PARAMETERS")
	for _, s := range settings {
		params += " " + task.Quote(s.key+"="+s.value)
	}
	env.Set("GIT_CONFIG_PARAMETERS", strings.TrimSpace(params))
	return env.List()
}

// settings is what holds for every git command of the stage. It keeps git from running what a job
// may have planted in the user's own configuration, as far as git lets us.
func (g *repository) settings() []setting {
	list := []setting{
		{"safe.directory", "*"}, // we have just made .git ourselves, and files may be the build user's
		{"core.hooksPath", "/dev/null"},
		{"core.fsmonitor", "false"},
		{"core.splitIndex", "false"}, // see readIndex
		{"fetch.recurseSubmodules", "false"},
		{"submodule.recurse", "false"},
		{"maintenance.auto", "false"}, // see collect
		{"gc.auto", "0"},
		{"fetch.unpackLimit", "1"}, // one pack is written and read faster than a hundred files
		{"core.fsync", "none"},     // after a power cut the job is lost anyway, and a broken repository is made anew
		{"advice.detachedHead", "false"},
	}
	if g.s.UserAgent != "" {
		list = append(list, setting{"http.userAgent", g.s.UserAgent})
	}
	list = append(list, g.tls()...)
	return append(list, g.rewrites()...)
}

// tls is the certificates of the coordinator's host.
func (g *repository) tls() []setting {
	var list []setting
	for _, host := range g.hosts() {
		for _, c := range []setting{{"sslCAInfo", g.s.CAFile}, {"sslCert", g.s.CertFile}, {"sslKey", g.s.KeyFile}} {
			if c.value != "" {
				list = append(list, setting{"http." + host + "." + c.key, c.value})
			}
		}
	}
	return list
}

// hosts is scheme://host[:port] of what the credentials and certificates are for: the repository's host and
// the coordinator's others, which differ when clone_url is set. Empty when none is reached over HTTP.
func (g *repository) hosts() []string {
	var list []string
	for _, address := range append([]string{g.s.URL, g.s.Submodules.ServerURL}, g.s.Trusted...) {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		if host := u.Scheme + "://" + u.Host; !slices.Contains(list, host) {
			list = append(list, host)
		}
	}
	return list
}

// cleanURL is the repository's URL without credentials, whoever put them there.
func (g *repository) cleanURL() string {
	if u, err := url.Parse(g.s.URL); err == nil && u.User != nil && (u.Scheme == "http" || u.Scheme == "https") {
		u.User = nil
		return u.String()
	}
	return g.s.URL
}

// fetch makes the repository and gets what the refspecs say into it.
func (g *repository) fetch(ctx context.Context) error {
	if g.s.Depth > 0 {
		g.r.Log.Notice("Fetching changes with git depth set to %d...", g.s.Depth)
	} else {
		g.r.Log.Notice("Fetching changes...")
	}
	existed, err := g.reclaim()
	if err != nil {
		return err
	}
	if existed {
		g.r.Log.Plain("Reinitialized existing Git repository in %s/", g.gitDir)
	} else {
		g.r.Log.Plain("Initialized empty Git repository in %s/", g.gitDir)
	}
	if !existed || g.s.CleanConfig {
		g.r.Log.Notice("Created fresh repository.")
	}
	if err := g.git(ctx, g.fetchArgs()...); err != nil {
		return err
	}
	return tree.RemoveAll(filepath.Join(g.gitDir, haveRefs))
}

func (g *repository) fetchArgs() []string {
	args := []string{"fetch", "--no-recurse-submodules"}
	if g.s.Depth > 0 {
		args = append(args, "--depth", strconv.Itoa(g.s.Depth))
	} else if _, err := os.Lstat(filepath.Join(g.gitDir, "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	args = append(args, g.s.FetchFlags...)
	return append(append(args, "--", "origin"), g.s.Refspecs...)
}

// checkout brings the work tree to the commit.
func (g *repository) checkout(ctx context.Context) error {
	g.r.Log.Notice("Checking out %s as detached HEAD (ref is %s)...", g.s.SHA[:8], g.s.Ref)
	if err := g.restoreIndex(ctx); err != nil {
		return err
	}
	if err := g.git(ctx, "checkout", "-f", "-q", g.s.SHA); err != nil {
		return g.explain(err)
	}
	index, err := readIndex(g.gitDir, objectFormat(g.s))
	if err != nil && g.reused {
		return fmt.Errorf("%w: %w", errTampered, err)
	}
	if g.reused {
		w := worktree{g: g, dir: g.dir, gitDir: g.gitDir, index: index}
		if err := w.verify(ctx, g.s.SHA); err != nil {
			return err
		}
	}
	if len(g.s.CleanFlags) > 0 && !g.empty && (err != nil || !fullClean(g.s.CleanFlags) || !onlyTracked(g.dir, index)) {
		if err := g.git(ctx, append([]string{"clean"}, g.s.CleanFlags...)...); err != nil {
			return err
		}
	}
	return g.pullLFS(ctx, index, err == nil)
}

// explain says why the commit cannot be checked out when it is not there.
func (g *repository) explain(err error) error {
	store := openObjects(filepath.Join(g.gitDir, "objects"), objectFormat(g.s))
	defer store.close()
	var ge *gitError
	if !errors.As(err, &ge) || store.has(g.s.SHA) {
		return err
	}
	return fmt.Errorf("commit %s is not in what was fetched of %s: the branch or tag was changed or deleted meanwhile, "+
		"or has more new commits than GIT_DEPTH fetches; run a new pipeline: %w", g.s.SHA, g.s.Ref, err)
}

// restoreIndex makes the index of the commit that the work tree probably has, so that what it
// tracked and the new commit does not is removed. Where files are to stay they are compared
// with the commit and keep their times when they are equal: an index that a job left could say that
// any file is the commit's.
func (g *repository) restoreIndex(ctx context.Context) error {
	full := g.s.Checkout && fullClean(g.s.CleanFlags)
	if g.old == "" || g.empty || full && g.old == g.s.SHA {
		return nil
	}
	if err := g.gitTo(ctx, nil, nil, "read-tree", g.old); err != nil {
		return err
	}
	if full {
		return nil
	}
	err := g.gitTo(ctx, nil, nil, "update-index", "-q", "--refresh")
	var ge *gitError
	if errors.As(err, &ge) { // some files differ
		return nil
	}
	return err
}

// skipCheckout leaves the work tree as it is, at the commit that it has.
func (g *repository) skipCheckout(ctx context.Context) error {
	g.r.Log.Notice("Skipping Git checkout")
	if g.old == "" || g.empty {
		return nil
	}
	if err := g.restoreIndex(ctx); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(g.gitDir, "HEAD"), []byte(g.old+"\n"), 0o666)
}
