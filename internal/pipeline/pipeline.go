// Package pipeline reads .gitlab-ci.yml and says which jobs it makes: for the development
// coordinator, and for runs without any.
//
// It reads a subset of GitLab's language: stages, default, variables, and in jobs script,
// before_script, after_script, image, services, tags, variables, needs, dependencies, artifacts,
// cache, when (with start_in), allow_failure, retry, timeout, parallel (a number or a matrix), stage and extends,
// besides YAML's anchors and merge keys and hidden jobs. Everything else is an error that names
// file, line and key: a pipeline that would run differently elsewhere does not run here at all.
//
// Source of the behaviour: GitLab's lib/gitlab/ci/config/entry and its CI/CD YAML reference.
package pipeline

import (
	"fmt"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
)

// DefaultFile is where GitLab looks for a pipeline in a repository.
const DefaultFile = ".gitlab-ci.yml"

// Pipeline is what a file makes. It is immutable; its jobs' slices may share memory.
type Pipeline struct {
	Stages []string // in order, with .pre and .post
	Jobs   []*Job   // in the file's order, parallel ones one by one
}

// Job is one job that may run.
type Job struct {
	Name  string // "test 1/3", "test: [a, b]" where Group is "test"
	Group string
	Line  int
	Stage string

	Variables   job.Variables // the file's, then the job's, then the matrix's: a later one wins
	Script      []string      // before_script and script
	AfterScript []string
	Image       *job.Image
	Services    []job.Image
	Tags        []string
	Artifacts   []job.Artifact
	Caches      []Cache
	Timeout     time.Duration // 0: the project's

	When           When
	StartIn        time.Duration // of a delayed job
	AllowFailure   bool
	AllowExitCodes []int // allow_failure: exit_codes; AllowFailure is false then
	Retry          Retry

	// Needs are the jobs that must be over before this one starts, by name; nil means all of the
	// stages before, empty none.
	Needs []Need
	// Dependencies are the names of the jobs whose artifacts are wanted; nil means all that Needs
	// allows, or all of the stages before; empty none.
	Dependencies []string

	Index, Total int // of a parallel job, from 1; 0 otherwise
}

// When says when a job runs.
type When string

// The values of a job's when.
const (
	OnSuccess When = "on_success"
	OnFailure When = "on_failure"
	Always    When = "always"
	Manual    When = "manual"
	Delayed   When = "delayed" // StartIn says by how much
)

// Need is one of needs.
type Need struct {
	Job       string
	Artifacts bool
}

// Cache is one of cache, with a key that may have to be made of the last change of files.
type Cache struct {
	job.Cache          // Key is empty when Files are given
	Files     []string // cache:key:files
	Prefix    string   // cache:key:prefix
	Unprotect bool     // protected refs share it with the others
}

// Retry says how often and after which failures a job is tried again.
type Retry struct {
	Max       int
	When      []string // failure reasons, "always"; empty is always
	ExitCodes []int
}

// Error is something wrong in a file.
type Error struct {
	File    string
	Line    int    // 0 when unknown
	Key     string // "test:script", empty for the whole file
	Message string // what and why, what to do next
}

func (e *Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Key == "" {
		return at + ": " + e.Message
	}
	return at + ": " + e.Key + ": " + e.Message
}
