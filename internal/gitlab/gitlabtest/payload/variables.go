package payload

import (
	"net"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// Version is the GitLab whose behaviour this coordinator follows.
const Version = "19.4.0"

// varList collects variables in GitLab's order.
type varList []jobpayload.Variable

func (l *varList) public(kv ...string) {
	for i := 0; i < len(kv); i += 2 {
		*l = append(*l, jobpayload.Variable{Key: kv[i], Value: kv[i+1], Public: true})
	}
}

func (l *varList) secret(kv ...string) {
	for i := 0; i < len(kv); i += 2 {
		*l = append(*l, jobpayload.Variable{Key: kv[i], Value: kv[i+1], Masked: true})
	}
}

// variables are what GitLab gives to a job, in its order: predefined ones, those of the job, dotenv
// variables of the jobs that it depends on. Source: Gitlab::Ci::Variables::Builder.
func (j *builder) variables() []jobpayload.Variable {
	var l varList
	j.jobVariables(&l)
	j.serverVariables(&l)
	j.projectVariables(&l)
	j.commitVariables(&l)
	l.public("CI_PIPELINE_ID", strconv.FormatInt(j.Pipeline.ID, 10), "CI_PIPELINE_IID", strconv.FormatInt(j.Pipeline.ID, 10),
		"CI_PIPELINE_SOURCE", j.Pipeline.Source, "CI_PIPELINE_CREATED_AT", j.Pipeline.Created,
		"CI_PIPELINE_URL", j.webURL()+"/-/pipelines/"+strconv.FormatInt(j.Pipeline.ID, 10),
		"CI_RUNNER_ID", strconv.FormatInt(j.RunnerID, 10), "CI_RUNNER_DESCRIPTION", j.RunnerName, "CI_RUNNER_TAGS", tagsJSON(j.RunnerTags),
		"GITLAB_USER_ID", "1", "GITLAB_USER_EMAIL", "dev@example.com", "GITLAB_USER_LOGIN", "dev", "GITLAB_USER_NAME", "Developer")
	if j.Pipeline.Project == nil {
		l.public("GIT_STRATEGY", "none")
	}
	l = append(l, j.Variables...)
	return append(l, j.Dotenv...)
}

func (j *builder) jobVariables(l *varList) {
	id := strconv.FormatInt(j.ID, 10)
	l.public("CI_JOB_ID", id, "CI_JOB_URL", j.webURL()+"/-/jobs/"+id)
	l.secret("CI_JOB_TOKEN", j.Token)
	l.public("CI_JOB_STARTED_AT", j.Handed.UTC().Format("2006-01-02T15:04:05Z"), "CI_REGISTRY_USER", "gitlab-ci-token")
	l.secret("CI_REGISTRY_PASSWORD", j.Token)
	*l = append(*l, jobpayload.Variable{Key: "CI_REPOSITORY_URL", Value: j.repoURL(j.Token)})
	l.public("CI_DEPENDENCY_PROXY_USER", "gitlab-ci-token")
	l.secret("CI_DEPENDENCY_PROXY_PASSWORD", j.Token)
	l.public("CI_JOB_NAME", j.Name, "CI_JOB_NAME_SLUG", slug(j.Name), "CI_JOB_STAGE", j.Stage, "CI_JOB_GROUP_NAME", j.Name)
	if j.Manual {
		l.public("CI_JOB_MANUAL", "true")
	}
	if j.Total > 0 {
		l.public("CI_NODE_INDEX", strconv.Itoa(j.Index), "CI_NODE_TOTAL", strconv.Itoa(j.Total))
	} else {
		l.public("CI_NODE_TOTAL", "1")
	}
}

func (j *builder) serverVariables(l *varList) {
	host, port, _ := net.SplitHostPort(j.Addr)
	l.public("CI", "true", "GITLAB_CI", "true", "CI_SERVER_FQDN", j.Addr, "CI_SERVER_URL", j.url(), "CI_SERVER_HOST", host,
		"CI_SERVER_PORT", port, "CI_SERVER_PROTOCOL", "http", "CI_SERVER_SHELL_SSH_HOST", host, "CI_SERVER_SHELL_SSH_PORT", "22",
		"CI_SERVER_NAME", "GitLab", "CI_SERVER_VERSION", Version)
	for i, name := range []string{"MAJOR", "MINOR", "PATCH"} {
		l.public("CI_SERVER_VERSION_"+name, strings.Split(Version, ".")[i])
	}
	l.public("CI_SERVER_REVISION", "development", "GITLAB_FEATURES", "", "CI_API_V4_URL", j.url()+"/api/v4",
		"CI_API_GRAPHQL_URL", j.url()+"/api/graphql", "CI_TEMPLATE_REGISTRY_HOST", "registry.gitlab.com")
}

func (j *builder) projectVariables(l *varList) {
	name, path, space, id, branch := "none", "none/none", "none", int64(1), "main"
	if p := j.Pipeline.Project; p != nil {
		name, path, space, id, branch = p.Name(), p.Path, p.Namespace(), p.ID, p.DefaultBranch
	}
	root, _, _ := strings.Cut(space, "/")
	l.public("CI_PROJECT_ID", strconv.FormatInt(id, 10), "CI_PROJECT_NAME", name, "CI_PROJECT_TITLE", name, "CI_PROJECT_DESCRIPTION", "",
		"CI_PROJECT_PATH", path, "CI_PROJECT_PATH_SLUG", slug(path), "CI_PROJECT_NAMESPACE", space, "CI_PROJECT_NAMESPACE_ID", "1",
		"CI_PROJECT_NAMESPACE_SLUG", slug(space), "CI_PROJECT_ROOT_NAMESPACE", root, "CI_PROJECT_URL", j.webURL(),
		"CI_PROJECT_VISIBILITY", "private", "CI_PROJECT_REPOSITORY_LANGUAGES", "", "CI_PROJECT_CLASSIFICATION_LABEL", "",
		"CI_DEFAULT_BRANCH", branch, "CI_DEFAULT_BRANCH_SLUG", slug(branch), "CI_CONFIG_PATH", ".gitlab-ci.yml")
}

func (j *builder) commitVariables(l *varList) {
	m := j.Pipeline.Commit
	kind := "CI_COMMIT_BRANCH"
	if m.Tag {
		kind = "CI_COMMIT_TAG"
	}
	_, description, _ := strings.Cut(m.Message, "\n\n")
	l.public("CI_COMMIT_SHA", m.SHA, "CI_COMMIT_SHORT_SHA", m.SHA[:8], "CI_COMMIT_BEFORE_SHA", m.BeforeSHA, "CI_COMMIT_REF_NAME", m.Ref,
		"CI_COMMIT_REF_SLUG", slug(m.Ref), kind, m.Ref, "CI_COMMIT_MESSAGE", m.Message, "CI_COMMIT_TITLE", m.Title,
		"CI_COMMIT_DESCRIPTION", description, "CI_COMMIT_REF_PROTECTED", strconv.FormatBool(j.Protected),
		"CI_COMMIT_TIMESTAMP", m.Timestamp, "CI_COMMIT_AUTHOR", m.Author)
}

func (j *builder) webURL() string {
	return strings.TrimSuffix(j.repoURL(""), ".git")
}

// tagsJSON is how GitLab writes CI_RUNNER_TAGS.
func tagsJSON(tags []string) string {
	quoted := make([]string, len(tags))
	for i, tag := range tags {
		quoted[i] = strconv.Quote(tag)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (j *builder) url() string { return "http://" + j.Addr }
