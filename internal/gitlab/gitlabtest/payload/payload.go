package payload

import (
	"fmt"
	"net/url"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// Build returns what POST /jobs/request answers.
func Build(s *Spec, h *Handout) jobpayload.Payload {
	j := &builder{Spec: s, Handout: h}
	seconds := int64(h.Timeout.Seconds())
	p := jobpayload.Payload{
		ID: h.ID, Token: h.Token, AllowGitFetch: true,
		JobInfo:    j.jobInfo(),
		GitInfo:    j.gitInfo(),
		RunnerInfo: jobpayload.RunnerInfo{Timeout: seconds, RunnerSessionURL: h.SessionURL},
		Variables:  j.variables(),
		Steps:      []jobpayload.Step{{Name: "script", Script: orEmpty(j.Script), Timeout: seconds, When: "on_success"}},
		Image:      j.Image, Services: orEmpty(j.Services), Artifacts: j.Artifacts, Cache: orEmpty(j.Cache),
		Credentials:  []jobpayload.Credential{},
		Dependencies: orEmpty(h.Dependencies),
		Hooks:        j.Hooks,
		Features: jobpayload.JobFeatures{
			TraceSections: true, FailureReasons: FailureReasons(), TwoPhaseJobCommit: h.WaitsForAck,
			TokenMaskPrefixes: []string{"glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glrtr-", "glptt-", "glft-", "glimt-", "glagent-", "glsoat-", "glffct-", "_gitlab_session="},
		},
	}
	if len(j.AfterScript) > 0 {
		p.Steps = append(p.Steps, jobpayload.Step{Name: "after_script", Script: j.AfterScript, Timeout: seconds, When: "always", AllowFailure: true})
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

// builder makes one payload.
type builder struct {
	*Spec
	*Handout
}

func (j *builder) jobInfo() jobpayload.JobInfo {
	info := jobpayload.JobInfo{
		ID: j.ID, Name: j.Name, Stage: j.Stage, PipelineID: j.Pipeline.ID, ProjectID: 1, ProjectName: "none", ProjectFullPath: "none/none",
		NamespaceID: 1, RootNamespaceID: 1, OrganizationID: 1, UserID: 1,
		TimeInQueueSeconds: j.Handed.Sub(j.Queued).Seconds(), ProjectJobsRunning: "0", QueueSize: int64(j.QueueSize),
	}
	if p := j.Pipeline.Project; p != nil {
		info.ProjectID, info.ProjectName, info.ProjectFullPath = p.ID, p.Name(), p.Path
	}
	return info
}

// repoURL is where git finds the sources, with or without credentials.
func (j *builder) repoURL(token string) string {
	path := "none/none"
	if p := j.Pipeline.Project; p != nil {
		path = p.Path
	}
	u := url.URL{Scheme: "http", Host: j.Addr, Path: "/" + path + ".git"}
	if token != "" {
		u.User = url.UserPassword("gitlab-ci-token", token)
	}
	return u.String()
}

// gitInfo follows Ci::BuildRunnerPresenter: refspecs, depth.
func (j *builder) gitInfo() jobpayload.GitInfo {
	pl, depth := j.Pipeline, j.depth()
	g := jobpayload.GitInfo{
		RepoURL: j.repoURL(j.Token), RepoObjectFormat: "sha1", Ref: pl.Commit.Ref, SHA: pl.Commit.SHA, BeforeSHA: pl.Commit.BeforeSHA,
		RefType: "branch", Depth: depth, Protected: &j.Protected,
	}
	if pl.Project != nil {
		g.RepoObjectFormat = pl.Project.ObjectFormat
	}
	keep := fmt.Sprintf("refs/pipelines/%d", pl.ID)
	g.Refspecs = []string{"+" + keep + ":" + keep}
	branch := func(ref string) string { return "+refs/heads/" + ref + ":refs/remotes/origin/" + ref }
	tag := func(ref string) string { return "+refs/tags/" + ref + ":refs/tags/" + ref }
	if pl.Commit.Tag {
		g.RefType = "tag"
	}
	switch {
	case depth == 0:
		g.Refspecs = append(g.Refspecs, branch("*"), tag("*"))
	case pl.Commit.Tag:
		g.Refspecs = append(g.Refspecs, tag(pl.Commit.Ref))
	default:
		g.Refspecs = append(g.Refspecs, branch(pl.Commit.Ref))
	}
	return g
}

// depth is GIT_DEPTH, which the presenter reads of the variables too.
func (j *builder) depth() int {
	depth := j.Depth
	for _, v := range j.Variables {
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
