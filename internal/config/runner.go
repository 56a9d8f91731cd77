package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
)

// Runner is one [[runners]] entry.
type Runner struct {
	Name            string    `toml:"name" flag:"name" short:"description" env:"RUNNER_NAME" help:"name of the runner (with a registration token also its description in GitLab)"`
	URL             string    `toml:"url" flag:"url" short:"u" env:"CI_SERVER_URL" help:"address of GitLab"` // $VAR expanded
	ID              int64     `toml:"id"`
	Token           string    `toml:"token" flag:"token" short:"t" env:"CI_SERVER_TOKEN" help:"runner authentication token (glrt-...)"` // $VAR expanded, or what TokenFile holds; secret
	TokenFile       string    `toml:"token_file" flag:"token-file" help:"read the token from this file whenever the configuration is read"`
	TokenObtainedAt time.Time `toml:"token_obtained_at"`
	TokenExpiresAt  time.Time `toml:"token_expires_at"` // zero: never
	TLSCAFile       string    `toml:"tls-ca-file" flag:"tls-ca-file" env:"CI_SERVER_TLS_CA_FILE" help:"certificates to trust when talking to GitLab"`
	TLSCertFile     string    `toml:"tls-cert-file" flag:"tls-cert-file" env:"CI_SERVER_TLS_CERT_FILE" help:"client certificate for GitLab"`
	TLSKeyFile      string    `toml:"tls-key-file" flag:"tls-key-file" env:"CI_SERVER_TLS_KEY_FILE" help:"key of the client certificate"`

	Limit                          int            `toml:"limit" flag:"limit" env:"RUNNER_LIMIT" help:"jobs at once of this runner, 0 for no limit of its own"`
	OutputLimit                    int            `toml:"output_limit" flag:"output-limit" env:"RUNNER_OUTPUT_LIMIT" help:"size of a job's log in KiB"`                                    // default 4096
	RequestConcurrency             int            `toml:"request_concurrency" flag:"request-concurrency" env:"RUNNER_REQUEST_CONCURRENCY" help:"requests for a job at once"`               // default 1
	UnhealthyRequestsLimit         int            `toml:"unhealthy_requests_limit" flag:"unhealthy-requests-limit" env:"RUNNER_UNHEALTHY_REQUESTS_LIMIT"`                                  // default 3
	UnhealthyInterval              *time.Duration `toml:"unhealthy_interval" flag:"unhealthy-interval"`                                                                                    // default 60m
	JobStatusFinalUpdateRetryLimit int            `toml:"job_status_final_update_retry_limit" flag:"job-status-final-update-retry-limit" env:"RUNNER_job_status_final_update_retry_limit"` // 0: until GitLab has dropped the job
	StrictCheckInterval            *bool          `toml:"strict_check_interval" flag:"strict-check-interval" env:"RUNNER_STRICT_CHECK_INTERVAL"`                                           // nil: false
	PrepareTimeout                 *time.Duration `toml:"prepare_timeout" flag:"prepare-timeout" env:"RUNNER_PREPARE_TIMEOUT"`                                                             // nil: none
	GetSourcesTimeout              *time.Duration `toml:"get_sources_timeout" flag:"get-sources-timeout" env:"RUNNER_GET_SOURCES_TIMEOUT"`                                                 // nil: none

	Executor              string          `toml:"executor" flag:"executor" env:"RUNNER_EXECUTOR" help:"shell, docker or kubernetes"`
	Shell                 string          `toml:"shell" flag:"shell" env:"RUNNER_SHELL" help:"bash, sh or pwsh"`
	BuildsDir             string          `toml:"builds_dir" flag:"builds-dir" env:"RUNNER_BUILDS_DIR" help:"directory for the jobs' work trees"`
	CacheDir              string          `toml:"cache_dir" flag:"cache-dir" env:"RUNNER_CACHE_DIR" help:"directory for caches"`
	CloneURL              string          `toml:"clone_url" flag:"clone-url" env:"CLONE_URL" help:"address to clone from instead of GitLab's own"`
	Environment           []string        `toml:"environment" flag:"env" env:"RUNNER_ENV" help:"KEY=VALUE for every job; may be given several times"`
	PreGetSourcesScript   string          `toml:"pre_get_sources_script" flag:"pre-get-sources-script" env:"RUNNER_PRE_GET_SOURCES_SCRIPT"`
	PostGetSourcesScript  string          `toml:"post_get_sources_script" flag:"post-get-sources-script" env:"RUNNER_POST_GET_SOURCES_SCRIPT"`
	PreBuildScript        string          `toml:"pre_build_script" flag:"pre-build-script" env:"RUNNER_PRE_BUILD_SCRIPT"`
	PostBuildScript       string          `toml:"post_build_script" flag:"post-build-script" env:"RUNNER_POST_BUILD_SCRIPT"`
	DebugTraceDisabled    bool            `toml:"debug_trace_disabled" flag:"debug-trace-disabled" env:"RUNNER_DEBUG_TRACE_DISABLED" help:"do not obey CI_DEBUG_TRACE"`
	SafeDirectoryCheckout *bool           `toml:"safe_directory_checkout" flag:"safe-directory-checkout" env:"RUNNER_SAFE_DIRECTORY_CHECKOUT"` // nil: the default, true
	CleanGitConfig        *bool           `toml:"clean_git_config" flag:"clean-git-config" env:"RUNNER_CLEAN_GIT_CONFIG"`                      // nil: true but for the shell executor
	CustomBuildDir        CustomBuildDir  `toml:"custom_build_dir" ns:"custom_build_dir"`
	FeatureFlags          map[string]bool `toml:"feature_flags" flag:"feature-flags" env:"FEATURE_FLAGS" help:"NAME:true or NAME:false; may be given several times"`

	LeaveProcesses bool           `toml:"leave_processes" flag:"leave-processes" help:"do not end what a stage left running"` // Skerry's own
	KeepFailed     *time.Duration `toml:"keep_failed"`                                                                        // Skerry's own
	Nix            *Nix           `toml:"nix" ns:"nix"`                                                                       // Skerry's own
	Nested         Opaque         `toml:"nested" state:"todo"`                                                                // Skerry's own

	Docker     *Docker     `toml:"docker" ns:"docker"`
	Kubernetes *Kubernetes `toml:"kubernetes" ns:"kubernetes"`
	Cache      *Cache      `toml:"cache" ns:"cache"`

	Labels             map[string]string `toml:"labels" state:"todo"`
	ProxyExec          *bool             `toml:"proxy_exec" flag:"proxy-exec" env:"RUNNER_PROXY_EXEC" state:"ignored"`
	StepRunnerImage    string            `toml:"step_runner_image" flag:"step-runner-image" env:"STEP_RUNNER_IMAGE" state:"ignored"`
	UseSlotCgroups     bool              `toml:"use_slot_cgroups" flag:"use-slot-cgroups" env:"RUNNER_USE_SLOT_CGROUPS"`
	SlotCgroupTemplate string            `toml:"slot_cgroup_template" flag:"slot-cgroup-template" env:"RUNNER_SLOT_CGROUP_TEMPLATE"`
	Artifact           Opaque            `toml:"artifact" state:"todo"`
	Monitoring         Opaque            `toml:"monitoring" state:"todo"`
	Experimental       Opaque            `toml:"experimental" state:"todo"`
	Referees           *Referees         `toml:"referees" ns:"referees" state:"todo"`

	// The sections of executors that Skerry does not have: only the executor itself is refused.
	SSH        *SSH        `toml:"ssh" ns:"ssh" state:"ignored"`
	Parallels  *Parallels  `toml:"parallels" ns:"parallels" state:"ignored"`
	VirtualBox *VirtualBox `toml:"virtualbox" ns:"virtualbox" state:"ignored"`
	Machine    *Machine    `toml:"machine" ns:"machine" state:"ignored"`
	Custom     *Custom     `toml:"custom" ns:"custom" state:"ignored"`
	Instance   Opaque      `toml:"instance" state:"ignored"`
	Autoscaler Opaque      `toml:"autoscaler" state:"ignored"`

	Index   int   `toml:"-"` // place among the file's runners, from 0
	Line    int   `toml:"-"` // of its [[runners]] header
	Refused error `toml:"-"` // why run must not use this runner: Problems joined; nil when it may

	rawToken string   // as written, before $VAR
	unset    []string // variables in url and token that are not set
}

// TokenKnown says why what GitLab answers to Token says nothing about the runner: the token is not known
// here; nil when it is.
func (r *Runner) TokenKnown() error {
	switch {
	case len(r.unset) > 0:
		return fmt.Errorf("its token or address needs $%s, which is not set here", strings.Join(r.unset, ", $"))
	case r.Token == "" && r.TokenFile != "":
		return fmt.Errorf("its token_file %s holds no token or cannot be read", r.TokenFile)
	case r.Token == "":
		return errors.New("it has no token")
	}
	return nil
}

// CustomBuildDir is [runners.custom_build_dir].
type CustomBuildDir struct {
	Enabled *bool `toml:"enabled" flag:"enabled" env:"CUSTOM_BUILD_DIR_ENABLED"` // nil: the executor's default
}

// Variables returns Environment as keys and values; entries without "=" are left out, Load warned of them.
func (r *Runner) Variables() [][2]string {
	var out [][2]string
	for _, e := range r.Environment {
		if k, v, ok := strings.Cut(e, "="); ok {
			out = append(out, [2]string{k, v})
		}
	}
	return out
}

// Feature returns the feature flag name as the file sets it; set is false when it does not.
func (r *Runner) Feature(name string) (on, set bool) {
	on, set = r.FeatureFlags[name]
	return on, set
}

// ShortToken is the token shortened so that it may be shown: see runnertoken.Short.
func (r *Runner) ShortToken() string { return runnertoken.Short(r.Token) }
