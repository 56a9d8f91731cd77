// Package payload makes what a coordinator hands out to a runner: a job's variables, sources,
// steps and all the rest, as GitLab makes them.
package payload

import (
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/project"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// Spec is what a job is to do. The zero value is a job that runs nothing.
type Spec struct {
	Name        string // empty: "job"
	Stage       string // empty: "test"
	Project     string // path of a project of AddProject; empty: none, and GIT_STRATEGY is none
	Ref         string // branch or tag; empty: the default branch
	Script      []string
	AfterScript []string
	Variables   []jobpayload.Variable // after the predefined ones
	Tags        []string
	Image       *jobpayload.Image
	Services    []jobpayload.Image
	Artifacts   []jobpayload.Artifact
	Cache       []jobpayload.Cache
	Hooks       []jobpayload.Hook
	Timeout     time.Duration // 0: 1 h
	Depth       int           // GIT_DEPTH: 0 means 20, GitLab's default; negative everything
	Protected   bool          // the ref is protected
	// Dependencies are jobs whose artifacts and dotenv variables this one gets.
	Dependencies   []int64
	AllowFailure   bool
	AllowExitCodes []int // allow_failure: exit_codes
	// Edit has the last word on the payload; Body replaces it altogether. Both are called with the
	// coordinator's lock held: they must not call it.
	Edit func(*jobpayload.Payload)
	Body func(jobpayload.Payload) []byte
}

// Handout is everything else that a payload tells of a job.
type Handout struct {
	Addr         string // host and port of the instance
	ID           int64
	Token        string
	Pipeline     Pipeline
	Timeout      time.Duration
	Queued       time.Time
	Handed       time.Time
	QueueSize    int
	WaitsForAck  bool
	SessionURL   string // of the session that the runner offered; empty: none
	Manual       bool   // started by hand
	Index, Total int    // of a parallel job; 0 otherwise
	Dependencies []jobpayload.Dependency
	Dotenv       []jobpayload.Variable // of the dependencies
	RunnerID     int64
	RunnerName   string
	RunnerTags   []string
}

// Pipeline is the pipeline that a job belongs to.
type Pipeline struct {
	ID      int64
	Source  string           // CI_PIPELINE_SOURCE
	Created string           // ISO 8601
	Project *project.Project // nil: jobs without sources
	Commit  project.Commit
}

// Lacks names a feature that the job needs and the runner does not have; empty when it has all.
// Source: Ci::Build::RUNNER_FEATURES.
func (s *Spec) Lacks(f *gitlab.Features) string {
	archives := s.Artifacts
	excludes := slices.ContainsFunc(archives, func(a jobpayload.Artifact) bool { return len(a.Exclude) > 0 })
	raw := slices.ContainsFunc(archives, func(a jobpayload.Artifact) bool { return a.ArtifactFormat == "raw" })
	fallback := slices.ContainsFunc(s.Cache, func(x jobpayload.Cache) bool { return len(x.FallbackKeys) > 0 })
	switch {
	case !f.UploadMultipleArtifacts && len(archives) > 1:
		return "upload_multiple_artifacts"
	case !f.UploadRawArtifacts && raw:
		return "upload_raw_artifacts"
	case !f.ArtifactsExclude && excludes:
		return "artifacts_exclude"
	case !f.Refspecs:
		return "refspecs"
	case !f.FallbackCacheKeys && fallback:
		return "fallback_cache_keys"
	case !f.ReturnExitCode && len(s.AllowExitCodes) > 0:
		return "return_exit_code"
	}
	return ""
}

// FailureReasons is what the payload offers. Source: Enums::Ci::CommitStatus.failure_reasons.
func FailureReasons() []string {
	return []string{
		"unknown_failure", "script_failure", "api_failure", "stuck_or_timeout_failure", "runner_system_failure",
		"missing_dependency_failure", "runner_unsupported", "stale_schedule", "job_execution_timeout", "archived_failure",
		"unmet_prerequisites", "scheduler_failure", "data_integrity_failure", "forward_deployment_failure", "user_blocked",
		"project_deleted", "ci_quota_exceeded", "trace_size_exceeded", "builds_disabled", "environment_creation_failure",
		"runner_external_dependency_failure", "image_pull_failure",
	}
}
