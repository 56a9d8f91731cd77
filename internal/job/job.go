// Package job is the domain: what a job is, what its variables mean and how it can end.
// It imports no other package of the project, and every other package may import it.
package job

import "time"

// Job is one unit of work as the coordinator handed it out, translated once and immutable
// from then on. Slices and maps in it are owned by the Job: readers must not change them.
type Job struct {
	ID    int64
	Token string // the job's own token, secret; authenticates every later call about this job

	Name        string
	Stage       string // the pipeline stage's name, not a stage of this runner
	ProjectID   int64
	ProjectName string
	ProjectPath string // "group/project", derived from the path of Git.URL

	Queue Queue // how it waited, for metrics
	Slot  int   // the place that it has among those of its runner, from 0; the runner's choice, known when the job is planned

	AllowGitFetch bool // the project allows a work tree to be used again
	Git           Git
	Timeout       time.Duration // whole job; 0 means that the coordinator set none
	Variables     Variables     // in the coordinator's order: a later one wins
	Steps         []Step        // "script" first, then "release" and the like, then "after_script"
	Hooks         []Hook
	Image         *Image
	Services      []Image
	Artifacts     []Artifact
	Cache         []Cache
	Credentials   []Credential
	Dependencies  []Dependency
	Features      Features
	Secrets       map[string]any // as received; resolving them is not implemented, see Unsupported
	Inputs        []byte         // raw JSON of job inputs; nil when there are none

	// SessionURL is where the coordinator wants the session server's terminal advertised; often empty.
	SessionURL string

	// Unsupported says what the payload asks for that this runner cannot honour, in words for
	// the job's author; non-empty makes the job fail at once with ReasonUnsupported.
	Unsupported []string
}

// Queue is the coordinator's queue as it was when the job left it; what it does not tell is zero.
type Queue struct {
	Waited         time.Duration
	ProjectRunning string // how many jobs of the project run on the instance's runners: "0", "5+", "+Inf"; foreign text
	Size, Depth    int64  // jobs in the runner's queue, and how many of them were looked at
}

// Git says what to check out. Source: git_info of POST /jobs/request.
type Git struct {
	URL          string // may hold credentials (gitlab-ci-token:TOKEN@); secret
	ObjectFormat string // "sha1" or "sha256"; empty means sha1
	Ref          string
	SHA          string
	BeforeSHA    string
	RefType      string // "branch", "tag" or ""
	Refspecs     []string
	Depth        int // 0 means everything
	Protected    bool
}

// Step is one script of the job. Source: steps[] of POST /jobs/request.
type Step struct {
	Name         string // "script", "after_script", "release" …
	Script       []string
	Timeout      time.Duration
	When         When
	AllowFailure bool
}

// Hook is shell text that GitLab runs around a stage ("pre_get_sources_script").
type Hook struct {
	Name   string
	Script []string
}

// When says for which outcome of the script something is done.
type When string

// The values of when in steps, artifacts and caches; an empty When means OnSuccess.
const (
	OnSuccess When = "on_success"
	OnFailure When = "on_failure"
	Always    When = "always"
)

// Applies reports whether work marked w is due after a script that succeeded or did not.
func (w When) Applies(success bool) bool {
	switch w {
	case Always:
		return true
	case OnFailure:
		return !success
	default:
		return success
	}
}

// Image is the job's image or one of its services.
type Image struct {
	Name         string
	Alias        string // services only; several are separated by spaces or commas
	Entrypoint   []string
	Command      []string
	Ports        []Port
	Variables    Variables
	PullPolicies []string
	Platform     string // executor_opts.docker.platform
	User         string // executor_opts.docker.user
	KubeUser     string // executor_opts.kubernetes.user
}

// Port is a port that a service exposes for the web terminal's proxy.
type Port struct {
	Number   int
	Protocol string
	Name     string
}

// Artifact is one archive that the job leaves behind.
type Artifact struct {
	Name      string // archive name, may hold variables; empty means "artifacts"
	Untracked bool
	Paths     []string
	Exclude   []string
	When      When
	Type      string // "archive", "junit", "dotenv", …
	Format    string // "zip", "gzip", "raw"
	ExpireIn  string
}

// Cache is one cache of the job.
type Cache struct {
	Key          string // may hold variables
	FallbackKeys []string
	Untracked    bool
	Policy       string // "pull-push" (also when empty), "pull", "push"; may hold variables
	Paths        []string
	When         When
}

// Credential is a login that the coordinator gives to the job ("registry", "index").
type Credential struct {
	Type, URL, Username, Password string
}

// Dependency is an earlier job whose artifacts this one wants.
type Dependency struct {
	ID    int64
	Token string // that job's token, for the download; secret
	Name  string
	File  string // file name of the archive; empty means that there is none
	Size  int64
}

// Features is what the coordinator can do or wants done for this job.
type Features struct {
	TraceSections     bool
	TokenMaskPrefixes []string
	FailureReasons    []string // reasons that the coordinator understands
	TwoPhaseCommit    bool
}
