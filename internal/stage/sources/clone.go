package sources

import (
	"bytes"
	"context"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/stage/task"
)

// useNativeClone reports whether git clone can and should be used (FF_USE_GIT_NATIVE_CLONE).
func (g *repository) useNativeClone(ctx context.Context) bool {
	if !g.s.NativeClone || g.s.Strategy != "clone" {
		return false
	}
	var out bytes.Buffer
	if err := g.gitTo(ctx, &out, nil, "version"); err != nil || !atLeast(out.String(), 2, 49) {
		return false
	}
	g.r.Log.Plain("%sGit version at least \"2.49\"", task.Reset)
	return true
}

// atLeast compares the output of git version.
func atLeast(text string, major, minor int) bool {
	fields := strings.Fields(text)
	if len(fields) < 3 {
		return false
	}
	parts := strings.SplitN(fields[2], ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}

// clone uses git clone in the empty work tree, then adds to its configuration what fetch would have written.
func (g *repository) clone(ctx context.Context) error {
	switch {
	case g.s.Depth > 0:
		g.r.Log.Notice("Cloning repository for %s with git depth set to %d...", g.s.Ref, g.s.Depth)
	case g.s.Ref != "":
		g.r.Log.Notice("Cloning repository for %s...", g.s.Ref)
	default:
		g.r.Log.Notice("Cloning repository...")
	}
	if err := g.git(ctx, g.cloneArgs()...); err != nil {
		return err
	}
	g.empty = true
	if err := appendTo(filepath.Join(g.gitDir, "config"), g.extraConfig()); err != nil { // flags may have written more into it
		return err
	}
	store := openObjects(filepath.Join(g.gitDir, "objects"), objectFormat(g.s))
	defer store.close()
	if store.has(g.s.SHA) {
		return nil
	}
	return g.git(ctx, g.fetchArgs()...) // the branch has moved on; the refspecs name the pipeline, too
}

func (g *repository) cloneArgs() []string {
	args := []string{"clone", "--no-checkout", "--template="}
	if g.s.Depth > 0 {
		args = append(args, "--depth", strconv.Itoa(g.s.Depth))
	}
	switch {
	case strings.HasPrefix(g.s.Ref, "refs/"):
		args = append(args, "--revision="+g.s.Ref)
	case g.s.Ref != "":
		args = append(args, "--branch="+g.s.Ref)
	}
	args = append(args, g.s.CloneFlags...)
	return append(args, "--", g.cleanURL(), g.dir)
}

// pullLFS gets the content of large files, when git-lfs is there and a tracked .gitattributes names it.
// An index that is not known may name anything.
func (g *repository) pullLFS(ctx context.Context, index []indexEntry, known bool) error {
	if !g.lfs {
		return nil
	}
	if !known || g.usesLFS(index) {
		if err := g.git(ctx, "lfs", "pull"); err != nil {
			return err
		}
	}
	g.r.Log.Plain("")
	return nil
}

// usesLFS looks into the attribute files of the commit; starting git-lfs costs more.
func (g *repository) usesLFS(index []indexEntry) bool {
	root, err := os.OpenRoot(g.dir)
	if err != nil {
		return true // let git-lfs say what is wrong
	}
	defer root.Close()
	for _, e := range index {
		if path.Base(e.name) != ".gitattributes" || e.mode == modeGitlink {
			continue
		}
		st, err := root.Lstat(e.name)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		if f, err := root.Open(e.name); err == nil {
			text, _ := io.ReadAll(io.LimitReader(f, 4<<20))
			_ = f.Close()
			if bytes.Contains(text, []byte("lfs")) {
				return true
			}
		}
	}
	return false
}

// manyPacks is the number of packs from which on reading the repository gets slow (git's gc.autoPackLimit).
const manyPacks = 50

// collect packs a repository that has been used many times. Git would look after every fetch
// whether it is time; counting files here costs no process.
func (g *repository) collect(ctx context.Context) error {
	if !g.reused {
		return nil
	}
	packs, err := filepath.Glob(filepath.Join(globEscape(g.gitDir), "objects", "pack", "*.pack"))
	if err != nil || len(packs) <= manyPacks {
		return err
	}
	return g.git(ctx, "-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
}

// globEscape makes path a pattern that matches only itself.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
