// Package jobpayload is the job as GitLab hands it out: its JSON and the translation to the domain.
//
// Sources: GitLab's lib/api/entities/ci/job_request, and GitLab Runner's common/spec.
package jobpayload

import "encoding/json"

// Payload is a job as POST /jobs/request hands it out (201). Translate reads it more tolerantly
// than encoding/json would.
type Payload struct {
	ID            int64                      `json:"id"`
	Token         string                     `json:"token"`
	AllowGitFetch bool                       `json:"allow_git_fetch"`
	JobInfo       JobInfo                    `json:"job_info"`
	GitInfo       GitInfo                    `json:"git_info"`
	RunnerInfo    RunnerInfo                 `json:"runner_info"`
	Inputs        json.RawMessage            `json:"inputs,omitempty"` // [Input…]
	Variables     []Variable                 `json:"variables"`
	Steps         []Step                     `json:"steps"`
	Image         *Image                     `json:"image"`
	Services      []Image                    `json:"services"`
	Artifacts     []Artifact                 `json:"artifacts"`
	Cache         []Cache                    `json:"cache"`
	Credentials   []Credential               `json:"credentials"`
	Dependencies  []Dependency               `json:"dependencies"`
	Features      JobFeatures                `json:"features"`
	Secrets       map[string]json.RawMessage `json:"secrets,omitempty"`
	Hooks         []Hook                     `json:"hooks,omitempty"`
	Run           json.RawMessage            `json:"run,omitempty"` // CI steps, as a JSON string of JSON
	PolicyOptions PolicyOptions              `json:"policy_options"`
}

// JobInfo is job_info.
type JobInfo struct {
	ID                 int64   `json:"id"`
	Name               string  `json:"name"`
	Stage              string  `json:"stage"`
	PipelineID         int64   `json:"pipeline_id,omitempty"`
	ProjectID          int64   `json:"project_id"`
	ProjectName        string  `json:"project_name"`
	ProjectFullPath    string  `json:"project_full_path,omitempty"`
	NamespaceID        int64   `json:"namespace_id,omitempty"`
	RootNamespaceID    int64   `json:"root_namespace_id,omitempty"`
	OrganizationID     int64   `json:"organization_id,omitempty"`
	InstanceID         string  `json:"instance_id,omitempty"`
	InstanceUUID       string  `json:"instance_uuid,omitempty"`
	UserID             int64   `json:"user_id,omitempty"`
	TimeInQueueSeconds float64 `json:"time_in_queue_seconds"`
	ProjectJobsRunning string  `json:"project_jobs_running_on_instance_runners_count"` // a number, "5+" or "+Inf"
	QueueSize          int64   `json:"queue_size,omitempty"`
	QueueDepth         int64   `json:"queue_depth,omitempty"`
}

// GitInfo is git_info.
type GitInfo struct {
	RepoURL          string   `json:"repo_url"` // with gitlab-ci-token:TOKEN@
	RepoObjectFormat string   `json:"repo_object_format,omitempty"`
	Ref              string   `json:"ref"`
	SHA              string   `json:"sha"`
	BeforeSHA        string   `json:"before_sha"`
	RefType          string   `json:"ref_type"`
	Refspecs         []string `json:"refspecs"`
	Depth            int      `json:"depth"`
	Protected        *bool    `json:"protected"`
}

// RunnerInfo is runner_info.
type RunnerInfo struct {
	UUID             string `json:"uuid,omitempty"`
	Timeout          int64  `json:"timeout"` // seconds
	RunnerSessionURL string `json:"runner_session_url"`
}

// Variable is one of variables.
type Variable struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Public bool   `json:"public"`
	File   bool   `json:"file,omitempty"`
	Masked bool   `json:"masked"`
	Raw    bool   `json:"raw,omitempty"`
}

// Step is one of steps.
type Step struct {
	Name         string   `json:"name"`
	Script       []string `json:"script"`
	Timeout      int64    `json:"timeout"` // seconds
	When         string   `json:"when"`
	AllowFailure bool     `json:"allow_failure"`
}

// Image is image or one of services.
type Image struct {
	Name         string          `json:"name"`
	Alias        string          `json:"alias,omitempty"`
	Entrypoint   []string        `json:"entrypoint"`
	Command      []string        `json:"command,omitempty"`
	Ports        []Port          `json:"ports,omitempty"`
	Variables    []Variable      `json:"variables,omitempty"`
	PullPolicy   []string        `json:"pull_policy,omitempty"`
	ExecutorOpts json.RawMessage `json:"executor_opts,omitempty"` // ExecutorOpts, and perhaps what no runner knows
}

// ExecutorOpts is image.executor_opts.
type ExecutorOpts struct {
	Docker     *DockerOpts     `json:"docker,omitempty"`
	Kubernetes *KubernetesOpts `json:"kubernetes,omitempty"`
}

// DockerOpts is executor_opts.docker.
type DockerOpts struct {
	Platform string `json:"platform,omitempty"`
	User     string `json:"user,omitempty"`
}

// KubernetesOpts is executor_opts.kubernetes.
type KubernetesOpts struct {
	User string `json:"user,omitempty"`
}

// Port is one of a service's ports.
type Port struct {
	Number   int    `json:"number,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Name     string `json:"name,omitempty"`
}

// Artifact is one of artifacts.
type Artifact struct {
	Name           string   `json:"name"`
	Untracked      bool     `json:"untracked"`
	Paths          []string `json:"paths"`
	Exclude        []string `json:"exclude,omitempty"`
	When           string   `json:"when"`
	ArtifactType   string   `json:"artifact_type"`
	ArtifactFormat string   `json:"artifact_format"`
	ExpireIn       string   `json:"expire_in"`
}

// Cache is one of cache.
type Cache struct {
	Key          string   `json:"key"`
	Untracked    bool     `json:"untracked"`
	Policy       string   `json:"policy"`
	Paths        []string `json:"paths"`
	When         string   `json:"when"`
	FallbackKeys []string `json:"fallback_keys"`
}

// Credential is one of credentials.
type Credential struct {
	Type     string `json:"type"`
	URL      string `json:"url"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// Dependency is one of dependencies.
type Dependency struct {
	ID            int64         `json:"id"`
	Name          string        `json:"name"`
	Token         string        `json:"token"` // that job's, or this job's own
	ArtifactsFile *ArtifactFile `json:"artifacts_file,omitempty"`
}

// ArtifactFile is artifacts_file of a dependency; absent when it left no archive.
type ArtifactFile struct {
	Filename string `json:"filename"`
	Size     int64  `json:"size"`
}

// JobFeatures is features of a payload: what the server can do, and wants done for this job.
type JobFeatures struct {
	TraceSections     bool     `json:"trace_sections"`
	TokenMaskPrefixes []string `json:"token_mask_prefixes"`
	FailureReasons    []string `json:"failure_reasons"`
	// TwoPhaseJobCommit says that the job stands in pending until the first running update.
	TwoPhaseJobCommit bool `json:"two_phase_job_commit,omitempty"`
}

// Hook is one of hooks.
type Hook struct {
	Name   string   `json:"name"`
	Script []string `json:"script"`
}

// PolicyOptions is policy_options: who may override variables of a job that a policy made.
type PolicyOptions struct {
	ExecutionPolicyJob          bool     `json:"execution_policy_job"`
	PolicyName                  string   `json:"policy_name"`
	VariablesOverrideAllowed    *bool    `json:"policy_variables_override_allowed,omitempty"`
	VariablesOverrideExceptions []string `json:"policy_variables_override_exceptions,omitempty"`
}

// Input is one of inputs: a value that the job's text may name as ${{ job.inputs.KEY }}.
type Input struct {
	Key   string     `json:"key"`
	Value InputValue `json:"value"`
}

// InputValue is a job input's value.
type InputValue struct {
	Type      string          `json:"type"` // "string", "number", "boolean", "array", "struct"
	Content   json.RawMessage `json:"content"`
	Sensitive bool            `json:"sensitive,omitempty"`
}
