package jobpayload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/lenient"
	"gitlab.com/skerry/skerry/internal/job"
)

// MaxPayload is the largest job payload, in bytes, that RequestJob reads and Translate takes.
const MaxPayload = 32 << 20

// Translate turns the body of a 201 answer to POST /jobs/request into a job. It is tolerant of what
// differs between GitLab's versions: nulls, unknown keys, numbers as strings. What it understands
// but this runner cannot honour, and what it cannot read, goes to Job.Unsupported, so that the job
// fails with those words; an error means that there is no id and token to report anything about.
// The job shares no memory with payload. No error names a secret.
func Translate(payload []byte) (*job.Job, error) {
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("the job's payload has %d bytes, more than the %d that this runner reads", len(payload), MaxPayload)
	}
	var p Payload
	var d lenient.Decoder
	if err := d.DecodeObject(payload, &p); err != nil {
		return nil, fmt.Errorf("the job's payload cannot be read: %w", err)
	}
	if p.ID <= 0 {
		return nil, errors.New("the job's payload has no id")
	}
	if p.Token == "" {
		return nil, fmt.Errorf("the payload of job %d has no token", p.ID)
	}
	t := translation{}
	for _, m := range d.Mismatches {
		if matters(m.Path) {
			t.unsupported("the job's payload cannot be read: %s", m)
		}
	}
	t.interpolate(&p)
	return t.job(&p), nil
}

// matters reports whether a job could run differently for want of the payload's value at path.
func matters(path string) bool {
	top, _, _ := strings.Cut(path, ".")
	top, _, _ = strings.Cut(top, "[")
	switch top {
	case "job_info", "features", "policy_options", "credentials":
		return false
	}
	return path != "runner_info.uuid" && path != "runner_info.runner_session_url" && path != "git_info.protected"
}

// translation collects what a job asks for in vain.
type translation struct{ problems []string }

func (t *translation) unsupported(format string, args ...any) {
	if len(t.problems) < lenient.MaxMismatches {
		t.problems = append(t.problems, fmt.Sprintf(format, args...))
	}
}

func (t *translation) job(p *Payload) *job.Job {
	j := &job.Job{
		ID: p.ID, Token: p.Token,
		Name: p.JobInfo.Name, Stage: p.JobInfo.Stage,
		ProjectID: p.JobInfo.ProjectID, ProjectName: p.JobInfo.ProjectName,
		Queue:         queue(p.JobInfo),
		AllowGitFetch: p.AllowGitFetch,
		Timeout:       seconds(p.RunnerInfo.Timeout),
		Variables:     t.variables("variables", p.Variables),
		Steps:         t.steps(p.Steps),
		Image:         t.image(p.Image),
		Services:      t.services(p.Services),
		Artifacts:     t.artifacts(p.Artifacts),
		Cache:         t.caches(p.Cache),
		SessionURL:    p.RunnerInfo.RunnerSessionURL,
		Features: job.Features{
			TraceSections:     p.Features.TraceSections,
			TokenMaskPrefixes: p.Features.TokenMaskPrefixes,
			FailureReasons:    p.Features.FailureReasons,
			TwoPhaseCommit:    p.Features.TwoPhaseJobCommit,
		},
	}
	for _, h := range p.Hooks {
		j.Hooks = append(j.Hooks, job.Hook(h))
	}
	for _, c := range p.Credentials {
		j.Credentials = append(j.Credentials, job.Credential(c))
	}
	for _, dep := range p.Dependencies {
		j.Dependencies = append(j.Dependencies, dependency(dep))
	}
	if lenient.KindOf(p.Inputs) == "a list" && lenient.Unquoted(p.Inputs) != "[]" {
		j.Inputs = bytes.Clone(p.Inputs)
	}
	j.Git = t.git(p.GitInfo, j.Variables)
	j.ProjectPath = projectPath(p)
	j.Secrets = t.secrets(p.Secrets)
	t.run(p.Run)
	j.Unsupported = t.problems
	return j
}

func queue(i JobInfo) job.Queue {
	waited := min(i.TimeInQueueSeconds, math.MaxInt32)
	if math.IsNaN(waited) || waited < 0 {
		waited = 0
	}
	return job.Queue{
		Waited: time.Duration(waited * float64(time.Second)), ProjectRunning: i.ProjectJobsRunning,
		Size: i.QueueSize, Depth: i.QueueDepth,
	}
}

func (t *translation) git(g GitInfo, vars job.Variables) job.Git {
	if f := g.RepoObjectFormat; f != "" && f != "sha1" && f != "sha256" {
		t.unsupported("the repository's object format %q is not known to this runner; sha1 and sha256 are", f)
	}
	out := job.Git{
		URL: g.RepoURL, ObjectFormat: g.RepoObjectFormat, Ref: g.Ref, SHA: g.SHA, BeforeSHA: g.BeforeSHA,
		RefType: g.RefType, Refspecs: g.Refspecs, Depth: max(g.Depth, 0),
	}
	if g.Protected != nil {
		out.Protected = *g.Protected
	} else {
		// Before GitLab 18.3 only the predefined variable says it, and a later one may be the user's.
		first, _ := vars.First("CI_COMMIT_REF_PROTECTED")
		out.Protected = job.Variables{first}.Bool(first.Key)
	}
	return out
}

// projectPath returns the project's path as it becomes part of CI_PROJECT_DIR: that of the
// repository's URL or, where that could lead out of the directory it is joined to, one made of the
// project's id. Source: GitLab Runner's common/build.go, ProjectSlug and ProjectUniqueDir.
func projectPath(p *Payload) string {
	fallback := fmt.Sprintf("project-%d", p.JobInfo.ProjectID)
	u, err := url.Parse(p.GitInfo.RepoURL)
	if err != nil || u.Host == "" {
		return fallback
	}
	slug := strings.Trim(path.Clean("/"+strings.TrimSuffix(strings.TrimRight(u.Path, "/"), ".git")), "/")
	if slug == "" || strings.Contains(u.Path, "..") || strings.ContainsAny(slug, "\x00\n") {
		return fallback
	}
	return slug
}

func (t *translation) variables(where string, list []Variable) job.Variables {
	out := make(job.Variables, 0, len(list))
	for _, v := range list {
		switch {
		case v.Key == "" || v.Key == "." || v.Key == ".." || strings.ContainsAny(v.Key, "=/\x00"):
			t.unsupported("%s: %q cannot be the name of an environment variable; rename it", where, v.Key)
		case strings.Contains(v.Value, "\x00") && !v.File:
			t.unsupported("%s: the value of %s holds a NUL byte, which no environment variable can", where, v.Key)
		default:
			out = append(out, job.Variable(v))
		}
	}
	return out
}

// steps puts after_script last, where job.Job wants it.
func (t *translation) steps(list []Step) []job.Step {
	var out, after []job.Step
	for _, s := range list {
		step := job.Step{
			Name: s.Name, Script: s.Script, Timeout: seconds(s.Timeout),
			When: t.when("step "+s.Name, s.When), AllowFailure: s.AllowFailure,
		}
		if s.Name == "after_script" {
			after = append(after, step)
		} else {
			out = append(out, step)
		}
	}
	return append(out, after...)
}

func (t *translation) when(where, when string) job.When {
	switch w := job.When(when); w {
	case "", job.OnSuccess, job.OnFailure, job.Always:
		return w
	}
	t.unsupported("%s: when: %q is not one of on_success, on_failure and always", where, when)
	return job.When(when)
}

func (t *translation) artifacts(list []Artifact) []job.Artifact {
	var out []job.Artifact
	for _, a := range list {
		format := a.ArtifactFormat
		switch format {
		case "":
			format = "zip"
		case "zip", "gzip", "raw":
		default:
			t.unsupported("artifacts: the format %q is not known to this runner; zip, gzip and raw are", format)
		}
		kind := a.ArtifactType
		if kind == "" {
			kind = "archive"
		}
		out = append(out, job.Artifact{
			Name: a.Name, Untracked: a.Untracked, Paths: a.Paths, Exclude: a.Exclude,
			When: t.when("artifacts", a.When), Type: kind, Format: format, ExpireIn: a.ExpireIn,
		})
	}
	return out
}

func (t *translation) caches(list []Cache) []job.Cache {
	var out []job.Cache
	for _, c := range list {
		out = append(out, job.Cache{
			Key: c.Key, FallbackKeys: c.FallbackKeys, Untracked: c.Untracked, Policy: c.Policy,
			Paths: c.Paths, When: t.when("cache", c.When),
		})
	}
	return out
}

func dependency(d Dependency) job.Dependency {
	out := job.Dependency{ID: d.ID, Token: d.Token, Name: d.Name}
	if d.ArtifactsFile != nil {
		out.File, out.Size = d.ArtifactsFile.Filename, d.ArtifactsFile.Size
	}
	return out
}

// secrets keeps what was received and says that nothing here can fetch it. The message names
// providers, never what is in their settings: there are JWTs among them.
func (t *translation) secrets(raw map[string]json.RawMessage) map[string]any {
	if len(raw) == 0 {
		return nil
	}
	out := make(map[string]any, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var value any
		_ = json.Unmarshal(raw[name], &value) // it was valid as part of the payload
		out[name] = value
		providers := []string{}
		if settings, ok := value.(map[string]any); ok {
			for _, key := range slices.Sorted(maps.Keys(settings)) {
				if key != "file" && key != "token" {
					providers = append(providers, key)
				}
			}
		}
		t.unsupported("secrets: %s (%s) cannot be fetched, as this runner resolves no secrets; "+
			"use a masked CI/CD variable, or a runner that does", name, strings.Join(providers, ", "))
	}
	return out
}

func (t *translation) run(raw json.RawMessage) {
	switch strings.TrimSpace(lenient.Unquoted(raw)) {
	case "", "null", "[]":
	default:
		t.unsupported("run: this runner does not execute CI/CD steps; use script, or a runner that does")
	}
}

// longest is the longest time that a job is given: longer ones could not be added to a clock's time.
const longest = 10 * 365 * 24 * time.Hour

// seconds converts s, taking what is negative as 0 and what is beyond longest as that.
func seconds(s int64) time.Duration {
	return time.Duration(min(max(s, 0), int64(longest/time.Second))) * time.Second
}
