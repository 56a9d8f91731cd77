package agent

import (
	"os"
	"path/filepath"
	"strings"
)

// tools are the paths of what the place offers to stages. Nothing is run to find out: a job waits for the agent's start.
type tools struct {
	shells []string
	git    string // empty: there is none
	lfs    bool
}

// usual is searched after PATH: an agent is often started with none.
const usual = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

func newTools() tools {
	t := tools{git: look("git"), lfs: look("git-lfs") != ""}
	for _, name := range []string{"bash", "sh", "pwsh"} {
		if path := look(name); path != "" {
			t.shells = append(t.shells, path)
		}
	}
	return t
}

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
