// Package plan works out what a job means on this runner: its directories, settings and variables,
// and the stages that the agent is to run. It is a pure function of the job, the effective runner
// entry and what the agent said of its place, so that a runner which starts again after a crash
// comes to the same plan.
package plan

import (
	"encoding/json"
	"time"
)

// Runner is the effective runner entry of a job: all that the job needs of the configuration,
// resolved when the job was accepted and journaled with it. An adopted job uses this and never
// config.toml. It holds secrets (Token, KeyPEM).
type Runner struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	Token    string `json:"token"`
	SystemID string `json:"system_id"`

	// PEM texts, not paths: the files may be gone when the job is adopted.
	CAPEM   string `json:"ca_pem,omitempty"`
	CertPEM string `json:"cert_pem,omitempty"`
	KeyPEM  string `json:"key_pem,omitempty"`

	Executor string          `json:"executor"`
	Options  json.RawMessage `json:"options,omitempty"` // the executor's own options
	Shared   bool            `json:"shared"`            // jobs share one machine: CI_SHARED_ENVIRONMENT

	Shell          string          `json:"shell,omitempty"`
	Login          bool            `json:"login"` // the user's scripts run in login shells
	BuildsDir      string          `json:"builds_dir"`
	CacheDir       string          `json:"cache_dir"`
	SharedBuilds   bool            `json:"shared_builds"`   // BuildsDir is used by several jobs at once: add runner and slot to the path
	Mixed          bool            `json:"mixed,omitempty"` // the places' users may differ: containers
	CustomBuildDir bool            `json:"custom_build_dir"`
	CloneURL       string          `json:"clone_url,omitempty"`
	Environment    []string        `json:"environment,omitempty"` // "KEY=VALUE"
	FeatureFlags   map[string]bool `json:"feature_flags,omitempty"`

	PreGetSources  string `json:"pre_get_sources,omitempty"`
	PostGetSources string `json:"post_get_sources,omitempty"`
	PreBuild       string `json:"pre_build,omitempty"`
	PostBuild      string `json:"post_build,omitempty"`

	OutputLimit        int64         `json:"output_limit"` // bytes
	DebugTraceDisabled bool          `json:"debug_trace_disabled,omitempty"`
	SafeDirectory      bool          `json:"safe_directory,omitempty"`
	CleanGitConfig     *bool         `json:"clean_git_config,omitempty"`
	LeaveProcesses     bool          `json:"leave_processes,omitempty"`
	PrepareTimeout     time.Duration `json:"prepare_timeout,omitempty"`
	GetSourcesTimeout  time.Duration `json:"get_sources_timeout,omitempty"`
	MaxCacheArchive    int64         `json:"max_cache_archive,omitempty"`    // bytes, 0 unlimited
	GracefulKill       time.Duration `json:"graceful_kill,omitempty"`        // between TERM and KILL; 0 means the agent's default
	KeepFailed         time.Duration `json:"keep_failed,omitempty"`          // how long a failed job's environment is kept
	SessionTimeout     time.Duration `json:"session_timeout,omitempty"`      // how long a web terminal may hold up the end of its job
	FinalUpdateRetries int           `json:"final_update_retries,omitempty"` // 0: until GitLab's clocks have run out
}

// Version is what the runner says of its own build.
type Version struct {
	Name     string // "skerry"
	Version  string
	Revision string
	Platform string // "linux"
	Arch     string // "amd64"
}

// Slot says which of the runner's places the job took.
type Slot struct {
	Concurrent int `json:"concurrent"` // CI_CONCURRENT_ID, unique among the runner's jobs
	Project    int `json:"project"`    // CI_CONCURRENT_PROJECT_ID, unique among the runner's jobs of the project
}
