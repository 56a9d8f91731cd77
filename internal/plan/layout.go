package plan

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/job"

	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
)

// Layout is where a job's files are, as its places see them. All paths are absolute and clean.
type Layout struct {
	Builds  string // CI_BUILDS_DIR
	Project string // CI_PROJECT_DIR
	Temp    string // Project + ".tmp": file variables, GITLAB_ENV
	Cache   string // the project's directory in the local cache
}

// projectSlug is the project's path below the builds directory: what the translation of the payload
// found safe to join, or one made of the project's id. Source: gitlab-runner common/build.go, ProjectSlug.
func projectSlug(j *job.Job) string {
	if j.ProjectPath == "" || !filepath.IsLocal(j.ProjectPath) || path.Clean(j.ProjectPath) == "." {
		return "project-" + strconv.FormatInt(j.ProjectID, 10)
	}
	return path.Clean(j.ProjectPath)
}

// newLayout places the job. clonePath is GIT_CLONE_PATH, expanded.
func newLayout(j *job.Job, r Runner, slot Slot, strategy, clonePath string) (Layout, error) {
	slug := projectSlug(j)
	suffix := ""
	if strategy == "empty" {
		suffix = "-empty"
	}
	l := Layout{Builds: path.Clean(r.BuildsDir), Cache: path.Join(r.CacheDir, slug+suffix)}
	l.Project = path.Join(l.Builds, slug+suffix)
	if r.SharedBuilds {
		l.Project = path.Join(l.Builds, runnertoken.Short(r.Token), strconv.Itoa(slot.Project), slug+suffix)
	}
	if clonePath != "" {
		if !r.CustomBuildDir {
			return l, fmt.Errorf("GIT_CLONE_PATH is set to %q, which this runner does not allow: "+
				"set `enabled = true` in [runners.custom_build_dir] of its configuration, or remove the variable", clonePath)
		}
		l.Project = path.Clean(clonePath)
		if !strings.HasPrefix(l.Project, l.Builds+"/") {
			return l, fmt.Errorf("GIT_CLONE_PATH %q is outside the builds directory: it has to be within %q", clonePath, l.Builds)
		}
	}
	l.Temp = l.Project + ".tmp"
	return l, nil
}

// parents are the directories between the builds directory and the project's, the outermost first.
func (l Layout) parents() []string {
	var dirs []string
	for dir := path.Dir(l.Project); strings.HasPrefix(dir, l.Builds+"/"); dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}
