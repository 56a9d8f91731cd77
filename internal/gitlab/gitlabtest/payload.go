package gitlabtest

import (
	"fmt"
	"net/url"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

// payload is what POST /jobs/request answers. The caller holds mu.
func (c *Coordinator) payload(j *record, r *runner) gitlab.Payload {
	seconds := int64(j.timeout.Seconds())
	p := gitlab.Payload{
		ID: j.id, Token: j.token, AllowGitFetch: true,
		JobInfo:    c.jobInfo(j),
		GitInfo:    c.gitInfo(j),
		RunnerInfo: gitlab.RunnerInfo{Timeout: seconds},
		Variables:  c.variables(j, r),
		Steps:      []gitlab.Step{{Name: "script", Script: orEmpty(j.spec.Script), Timeout: seconds, When: "on_success"}},
		Image:      j.spec.Image, Services: orEmpty(j.spec.Services), Artifacts: j.spec.Artifacts, Cache: orEmpty(j.spec.Cache),
		Credentials:  []gitlab.Credential{},
		Dependencies: c.dependencies(j),
		Hooks:        j.spec.Hooks,
		Features: gitlab.JobFeatures{
			TraceSections: true, FailureReasons: failureReasons(), TwoPhaseJobCommit: j.waitingAck,
			TokenMaskPrefixes: []string{"glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glrtr-", "glptt-", "glft-", "glimt-", "glagent-", "glsoat-", "glffct-", "_gitlab_session="},
		},
	}
	if len(j.spec.AfterScript) > 0 {
		p.Steps = append(p.Steps, gitlab.Step{Name: "after_script", Script: j.spec.AfterScript, Timeout: seconds, When: "always", AllowFailure: true})
	}
	return p
}

// orEmpty makes JSON's [] of nothing, where GitLab has no null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (c *Coordinator) jobInfo(j *record) gitlab.JobInfo {
	info := gitlab.JobInfo{
		ID: j.id, Name: j.spec.Name, Stage: j.spec.Stage, PipelineID: j.pipeline.id, ProjectID: 1, ProjectName: "none", ProjectFullPath: "none/none",
		NamespaceID: 1, RootNamespaceID: 1, OrganizationID: 1, UserID: 1,
		TimeInQueueSeconds: j.handed.Sub(j.queued).Seconds(), ProjectJobsRunning: "0", QueueSize: int64(len(c.queue)),
	}
	if p := j.pipeline.project; p != nil {
		info.ProjectID, info.ProjectName, info.ProjectFullPath = p.ID, p.Name(), p.Path
	}
	return info
}

// repoURL is where git finds the sources, with or without credentials.
func (c *Coordinator) repoURL(j *record, token string) string {
	path := "none/none"
	if p := j.pipeline.project; p != nil {
		path = p.Path
	}
	u := url.URL{Scheme: "http", Host: c.addr, Path: "/" + path + ".git"}
	if token != "" {
		u.User = url.UserPassword("gitlab-ci-token", token)
	}
	return u.String()
}

// gitInfo follows Ci::BuildRunnerPresenter: refspecs, depth.
func (c *Coordinator) gitInfo(j *record) gitlab.GitInfo {
	pl, depth := j.pipeline, j.depth()
	g := gitlab.GitInfo{
		RepoURL: c.repoURL(j, j.token), RepoObjectFormat: "sha1", Ref: pl.commit.Ref, SHA: pl.commit.SHA, BeforeSHA: pl.commit.BeforeSHA,
		RefType: "branch", Depth: depth, Protected: &j.spec.Protected,
	}
	if pl.project != nil {
		g.RepoObjectFormat = pl.project.ObjectFormat
	}
	keep := fmt.Sprintf("refs/pipelines/%d", pl.id)
	g.Refspecs = []string{"+" + keep + ":" + keep}
	branch := func(ref string) string { return "+refs/heads/" + ref + ":refs/remotes/origin/" + ref }
	tag := func(ref string) string { return "+refs/tags/" + ref + ":refs/tags/" + ref }
	if pl.commit.Tag {
		g.RefType = "tag"
	}
	switch {
	case depth == 0:
		g.Refspecs = append(g.Refspecs, branch("*"), tag("*"))
	case pl.commit.Tag:
		g.Refspecs = append(g.Refspecs, tag(pl.commit.Ref))
	default:
		g.Refspecs = append(g.Refspecs, branch(pl.commit.Ref))
	}
	return g
}

// depth is GIT_DEPTH, which the presenter reads of the variables too.
func (j *record) depth() int {
	depth := j.spec.Depth
	for _, v := range j.spec.Variables {
		if v.Key == "GIT_DEPTH" {
			if _, err := fmt.Sscanf(v.Value, "%d", &depth); err != nil {
				depth = 0
			}
			return max(depth, 0)
		}
	}
	if depth == 0 {
		return 20
	}
	return max(depth, 0)
}

func (c *Coordinator) dependencies(j *record) []gitlab.Dependency {
	deps := []gitlab.Dependency{}
	for _, id := range j.spec.Dependencies {
		d := c.jobs[id]
		if d == nil {
			continue
		}
		dep := gitlab.Dependency{ID: d.id, Name: d.spec.Name, Token: j.token}
		if a := d.artifacts["archive"]; a != nil {
			dep.ArtifactsFile = &gitlab.ArtifactFile{Filename: a.Filename, Size: a.Size}
		}
		deps = append(deps, dep)
	}
	return deps
}

// slug is GitLab's Gitlab::Utils.slugify: lower case, 63 bytes, no hyphen at the ends.
func slug(s string) string {
	s = strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '-'
	}, strings.ToLower(s))
	return strings.Trim(s[:min(len(s), 63)], "-")
}
