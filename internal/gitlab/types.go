// Package gitlab is the runner API of GitLab: its JSON and the client that speaks it; what a job is in that
// JSON is in package jobpayload. Nothing outside of these packages knows GitLab's JSON.
//
// Sources of the behaviour: GitLab's lib/api/ci/runner.rb and lib/api/ci/helpers/runner.rb, and
// GitLab Runner's network and common/spec packages.
package gitlab

import "time"

// APIPath is where the runner API begins below an instance's URL.
const APIPath = "/api/v4/"

// The headers of the runner API, beside those of HTTP.
const (
	HeaderJobToken       = "JOB-TOKEN"                      // on every call about a job
	HeaderRunnerToken    = "RUNNER-TOKEN"                   // on every call about a runner
	HeaderPrivateToken   = "PRIVATE-TOKEN"                  // a user's token in a runner's place
	HeaderRequestID      = "X-Request-Id"                   // 32 hex digits, for support on the server's side
	HeaderLastUpdate     = "X-GitLab-Last-Update"           // queue version, sent back as JobRequest.LastUpdate
	HeaderJobStatus      = "Job-Status"                     // the job's state as the server sees it
	HeaderUpdateInterval = "X-GitLab-Trace-Update-Interval" // seconds until the next update or patch
	HeaderRateLimitReset = "RateLimit-ResetTime"            // RFC 1123 date after which to try again
)

// The query parameters of the artifact and trace calls.
const (
	QueryArtifactType   = "artifact_type"
	QueryArtifactFormat = "artifact_format"
	QueryExpireIn       = "expire_in"
	QueryDirectDownload = "direct_download"
	QueryDebugTrace     = "debug_trace"
)

// The form fields of POST /jobs/:id/artifacts.
const (
	FormFile     = "file"
	FormMetadata = "metadata"
)

// The values of the Job-Status header that a runner must tell apart.
const (
	StatusPending   = "pending"
	StatusRunning   = "running"
	StatusCanceling = "canceling" // stop gracefully and run after_script
	StatusCanceled  = "canceled"  // stop now
	StatusSuccess   = "success"
	StatusFailed    = "failed" // stop now
)

// RegisterRequest is the body of POST /runners. Token is a registration token: a runner that was
// created on the server (glrt-) is not registered but verified.
type RegisterRequest struct {
	Token           string `json:"token"`
	Description     string `json:"description,omitempty"`
	MaintenanceNote string `json:"maintenance_note,omitempty"`
	TagList         string `json:"tag_list,omitempty"` // separated by commas
	RunUntagged     bool   `json:"run_untagged"`
	Locked          bool   `json:"locked"`
	AccessLevel     string `json:"access_level,omitempty"` // "not_protected" or "ref_protected"
	MaximumTimeout  int    `json:"maximum_timeout,omitempty"`
	Paused          bool   `json:"paused"`
	Info            Info   `json:"info"`
}

// Registered is the answer to POST /runners (201), POST /runners/verify (200) and
// POST /runners/reset_authentication_token (201, without ID).
type Registered struct {
	ID             int64      `json:"id,omitempty"`
	Token          string     `json:"token,omitempty"`
	TokenExpiresAt *time.Time `json:"token_expires_at"` // nil: never
}

// VerifyRequest is the body of POST /runners/verify.
type VerifyRequest struct {
	Token    string `json:"token"`
	SystemID string `json:"system_id,omitempty"`
	Info     Info   `json:"info"`
}

// TokenRequest is the body of DELETE /runners and of POST /runners/reset_authentication_token.
type TokenRequest struct {
	Token string `json:"token"`
}

// ManagerRequest is the body of DELETE /runners/managers.
type ManagerRequest struct {
	Token    string `json:"token"`
	SystemID string `json:"system_id"`
}

// Info says what the runner is and can do.
type Info struct {
	Name         string            `json:"name,omitempty"`
	Version      string            `json:"version,omitempty"`
	Revision     string            `json:"revision,omitempty"`
	Platform     string            `json:"platform,omitempty"`
	Architecture string            `json:"architecture,omitempty"`
	Executor     string            `json:"executor,omitempty"`
	Shell        string            `json:"shell,omitempty"`
	Features     Features          `json:"features"`
	Config       ConfigInfo        `json:"config"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// ConfigInfo is info.config.
type ConfigInfo struct {
	GPUs string `json:"gpus"`
}

// Features is info.features: what this runner can do for a job. The server hands out only jobs
// whose needs are met.
type Features struct {
	Variables               bool `json:"variables"`
	Image                   bool `json:"image"`
	Services                bool `json:"services"`
	Artifacts               bool `json:"artifacts"`
	Cache                   bool `json:"cache"`
	FallbackCacheKeys       bool `json:"fallback_cache_keys"`
	Shared                  bool `json:"shared"`
	UploadMultipleArtifacts bool `json:"upload_multiple_artifacts"`
	UploadRawArtifacts      bool `json:"upload_raw_artifacts"`
	Session                 bool `json:"session"`
	Terminal                bool `json:"terminal"`
	Refspecs                bool `json:"refspecs"`
	Masking                 bool `json:"masking"`
	Proxy                   bool `json:"proxy"`
	RawVariables            bool `json:"raw_variables"`
	ArtifactsExclude        bool `json:"artifacts_exclude"`
	MultiBuildSteps         bool `json:"multi_build_steps"`
	TraceReset              bool `json:"trace_reset"`
	TraceChecksum           bool `json:"trace_checksum"`
	TraceSize               bool `json:"trace_size"`
	VaultSecrets            bool `json:"vault_secrets"`
	Cancelable              bool `json:"cancelable"`
	CancelGracefully        bool `json:"cancel_gracefully"`
	ReturnExitCode          bool `json:"return_exit_code"`
	ServiceVariables        bool `json:"service_variables"`
	ServiceMultipleAliases  bool `json:"service_multiple_aliases"`
	ImageExecutorOpts       bool `json:"image_executor_opts"`
	ServiceExecutorOpts     bool `json:"service_executor_opts"`
	NativeStepsIntegration  bool `json:"native_steps_integration"`
	TwoPhaseJobCommit       bool `json:"two_phase_job_commit"`
	JobInputs               bool `json:"job_inputs"`
}

// JobRequest is the body of POST /jobs/request.
type JobRequest struct {
	Token    string `json:"token"`
	SystemID string `json:"system_id,omitempty"`
	// LastUpdate is HeaderLastUpdate of the answer before; with it the server may hold the request
	// open (long polling, up to 50 s) until there is something new.
	LastUpdate string   `json:"last_update,omitempty"`
	Info       Info     `json:"info"`
	Session    *Session `json:"session,omitempty"`
}

// Session is where the web terminal finds this runner.
type Session struct {
	URL           string `json:"url,omitempty"`
	Certificate   string `json:"certificate,omitempty"`
	Authorization string `json:"authorization,omitempty"` // secret
}

// Update is the body of PUT /jobs/:id.
type Update struct {
	Token         string `json:"token"` // of the job; JobClient.Update fills it in
	State         string `json:"state,omitempty"`
	FailureReason string `json:"failure_reason,omitempty"`
	Checksum      string `json:"checksum,omitempty"` // the same as Output.Checksum, for old servers
	Output        Output `json:"output"`
	ExitCode      int    `json:"exit_code,omitempty"`
	Info          Info   `json:"info"`
}

// Output describes the whole trace, for the server to compare with what it has.
type Output struct {
	Checksum string `json:"checksum,omitempty"` // "crc32:%08x", IEEE polynomial
	Bytesize int64  `json:"bytesize,omitempty"`
}

// Message is the body of an error answer. Message is a string or an object of lists of strings
// (validation errors by field); some answers have Error instead.
type Message struct {
	Message any    `json:"message,omitempty"`
	Error   string `json:"error,omitempty"`
}
