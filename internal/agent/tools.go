package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"gitlab.com/skerry/skerry/internal/agent/proc"
	"gitlab.com/skerry/skerry/internal/stage"
)

// tools is what the place offers to stages. The paths are known at once, git's version once git has said it.
type tools struct {
	shells []string
	git    string
	lfs    bool

	asked   sync.WaitGroup
	version string // valid after asked.Wait
}

// usual is searched after PATH: an agent is often started with none.
const usual = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

func newTools(r *proc.Reaper, dir string) *tools {
	t := &tools{git: look("git"), lfs: look("git-lfs") != ""}
	for _, name := range []string{"bash", "sh", "pwsh"} {
		if path := look(name); path != "" {
			t.shells = append(t.shells, path)
		}
	}
	if t.git != "" {
		t.asked.Go(func() { t.version = gitVersion(r, t.git, dir) })
	}
	return t
}

func (t *tools) wait() { t.asked.Wait() }

// look finds an executable; empty when there is none.
func look(name string) string {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), strings.Split(usual, ":")...) {
		path := filepath.Join(dir, name)
		if !filepath.IsAbs(path) {
			continue
		}
		if i, err := os.Stat(path); err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// gitVersion asks git; empty when it does not answer.
func gitVersion(r *proc.Reaper, git, dir string) string {
	g := r.NewGroup("tools")
	defer g.Release(false)
	var out bytes.Buffer
	p, err := g.Start(stage.Command{Path: git, Args: []string{"git", "--version"}, Env: os.Environ(), Dir: dir, Stdout: &out})
	if err != nil {
		return ""
	}
	if e, err := p.Wait(); err != nil || e.Code != 0 {
		return ""
	}
	// "git version 2.39.5 (Apple Git-154)"
	v, ok := strings.CutPrefix(out.String(), "git version ")
	if f := strings.Fields(v); ok && len(f) > 0 {
		return f[0]
	}
	return ""
}
