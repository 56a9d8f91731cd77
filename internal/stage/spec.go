// Package stage is what the agent runs: git, caches, archives and the user's script. A stage is
// described by a Spec that the runner has resolved completely (variables expanded, paths absolute
// as the place sees them), writes to one output, and ends in a Result. It knows nothing of GitLab.
//
// This package holds what all sides agree on. Package worker does the work, with one package for each kind.
package stage

import (
	"time"
)

// Spec is one stage. Exactly one of the pointer fields says what it does.
type Spec struct {
	ID      string        `json:"id"`      // unique in the environment; [a-z0-9_.-]+, at most 64 bytes
	Timeout time.Duration `json:"timeout"` // 0: only the job's deadline holds
	Grace   time.Duration `json:"grace"`   // between TERM and KILL when it is ended early; 0 means 10 s
	Leave   bool          `json:"leave"`   // leave_processes: do not end what the stage left running
	Env     []Var         `json:"env"`     // the stage's environment, beside the place's own
	Dir     string        `json:"dir"`     // working directory (project directory); made when missing

	// Mixed says that the users of the job's places may differ: files that Var.File names are for all of them,
	// and what is extracted gets the owners that it had.
	Mixed bool `json:"mixed,omitempty"`

	// Base is the directory at or above Dir that no job can have replaced (builds_dir). Below it nothing
	// is trusted: a component of Dir that is a link is removed. Empty: the parent of Dir.
	Base string `json:"base,omitempty"`

	// Pre and Post are scripts run before and after the work, with the stage's environment; one that
	// fails fails the stage. With Script they run in its shell (pre_build_script may set variables),
	// else in a shell of their own; with Sources only for the strategies clone and fetch.
	Pre  []string `json:"pre,omitempty"`
	Post []string `json:"post,omitempty"`

	Sources      *Sources      `json:"sources,omitempty"`
	Script       *Script       `json:"script,omitempty"`
	RestoreCache *RestoreCache `json:"restore_cache,omitempty"`
	SaveCache    *SaveCache    `json:"save_cache,omitempty"`
	Unpack       *Unpack       `json:"unpack,omitempty"`
	Pack         *Pack         `json:"pack,omitempty"`
	Remove       *Remove       `json:"remove,omitempty"`
	Own          *Own          `json:"own,omitempty"`
}

// Var is one environment variable. File makes the agent write Value to the file FileDir/Key (0600,
// the directory 0700) and set the variable to that path instead.
type Var struct {
	Key   string `json:"k"`
	Value string `json:"v"`
	File  string `json:"f,omitempty"` // absolute path to write Value to; empty for an ordinary variable
}

// Script runs the user's text in one shell.
type Script struct {
	// Lines are run in order in one shell process, each shown as "$ line" first, until one fails.
	Lines []string `json:"lines"`
	Shell string   `json:"shell"` // "", "bash", "sh" or "pwsh"; empty takes bash, else sh
	Login bool     `json:"login"` // a login shell: profiles are read (the shell executor)
	Trace bool     `json:"trace"` // CI_DEBUG_TRACE: set -x
	// CheckEach tests the exit code after every line (FF_ENABLE_BASH_EXIT_CODE_CHECK).
	CheckEach bool `json:"check_each"`
	// Sections shows each line that spans several as a collapsed section (FF_SCRIPT_SECTIONS).
	Sections bool `json:"sections"`
	// EnvFile is a file (GITLAB_ENV) whose KEY=VALUE lines are added to the environment; it may be missing.
	EnvFile string `json:"env_file,omitempty"`
	Umask   int    `json:"umask"` // -1 leaves it
}

// Sources brings the project directory to a commit.
type Sources struct {
	Strategy     string        `json:"strategy"`          // "clone", "fetch", "none", "empty"
	URL          string        `json:"url"`               // without credentials
	Trusted      []string      `json:"trusted,omitempty"` // scheme://host of other addresses that the login is for
	Username     string        `json:"username"`          // for the hosts of URL, Trusted and Submodules.ServerURL
	Password     string        `json:"password"`          // secret: never in arguments, .git/config or the log
	ObjectFormat string        `json:"object_format"`
	SHA          string        `json:"sha"`
	Ref          string        `json:"ref"`
	Refspecs     []string      `json:"refspecs"`
	Depth        int           `json:"depth"`
	Checkout     bool          `json:"checkout"`
	CleanFlags   []string      `json:"clean_flags"` // nil: do not clean
	FetchFlags   []string      `json:"fetch_flags"`
	CloneFlags   []string      `json:"clone_flags"`
	NativeClone  bool          `json:"native_clone"`
	LFSSkip      bool          `json:"lfs_skip"`
	Submodules   Submodules    `json:"submodules"`
	CAFile       string        `json:"ca_file"` // certificates of the coordinator, a path in the place; may be empty
	CertFile     string        `json:"cert_file"`
	KeyFile      string        `json:"key_file"`
	SafeDir      bool          `json:"safe_dir"`
	CleanConfig  bool          `json:"clean_config"`
	Attempts     int           `json:"attempts"` // at least 1
	UserAgent    string        `json:"user_agent"`
	Timeout      time.Duration `json:"timeout"` // of one attempt; 0 none
}

// Submodules says what to do with submodules.
type Submodules struct {
	Strategy    string   `json:"strategy"` // "none", "normal", "recursive"
	Paths       []string `json:"paths"`
	Depth       int      `json:"depth"`
	UpdateFlags []string `json:"update_flags"`
	ForceHTTPS  bool     `json:"force_https"`
	ServerHost  string   `json:"server_host"` // CI_SERVER_HOST
	ServerURL   string   `json:"server_url"`  // where SSH URLs are fetched from with ForceHTTPS
	SSHHost     string   `json:"ssh_host"`    // CI_SERVER_SHELL_SSH_HOST
	SSHPort     string   `json:"ssh_port"`
}

// RestoreCache extracts the first of Candidates that exists, for each cache.
type RestoreCache struct {
	Caches   []CacheFrom `json:"caches"`
	Attempts int         `json:"attempts"`
}

// CacheFrom is one cache to restore.
type CacheFrom struct {
	Candidates []CacheFile   `json:"candidates"` // the key itself first, then fallbacks
	Timeout    time.Duration `json:"timeout"`
}

// CacheFile is a cache's archive in the local tier.
type CacheFile struct {
	Key  string `json:"key"`  // for the log
	Path string `json:"path"` // absolute, without the format's suffix (.zip, .tar.zst)
	// Root is the directory above Path that no job can have replaced (cache_dir). Below it nothing is
	// trusted: no link leads out of it. Empty: the parent of Path's directory.
	Root string `json:"root,omitempty"`
}

// SaveCache packs caches into the local tier.
type SaveCache struct {
	Caches []CacheTo `json:"caches"`
}

// CacheTo is one cache to save.
type CacheTo struct {
	CacheFile
	Files   Files         `json:"files"`
	Format  string        `json:"format"` // "zip", "tarzstd"
	Level   string        `json:"level"`  // "fastest", "fast", "default", "slow", "slowest"
	Timeout time.Duration `json:"timeout"`
	MaxSize int64         `json:"max_size"` // of the archive in bytes; 0 no limit
}

// Files selects files in the project directory.
type Files struct {
	Paths     []string `json:"paths"` // doublestar patterns, relative to the project directory
	Exclude   []string `json:"exclude"`
	Untracked bool     `json:"untracked"` // what git does not track, ignored files too
}

// Unpack extracts archives that the runner stored (PUT /v1/archives/{name}) into the project
// directory, in order, and removes them.
type Unpack struct {
	Archives []string `json:"archives"`
}

// Pack makes artifact archives, each to be fetched with GET /v1/archives/{name}.
type Pack struct {
	Archives []PackOne `json:"archives"`
}

// PackOne is one archive to make.
type PackOne struct {
	Name     string    `json:"name"`   // of the archive on the wire; [a-z0-9_.-]+
	Format   string    `json:"format"` // "zip", "gzip", "raw", "tarzstd"
	Level    string    `json:"level"`
	Files    Files     `json:"files"`
	Metadata *Metadata `json:"metadata,omitempty"` // make provenance (RUNNER_GENERATE_ARTIFACTS_METADATA)
	Title    string    `json:"title"`              // artifact type, for the log
}

// Metadata is what goes into artifacts-metadata.json beside the files' digests.
type Metadata struct {
	ArtifactName string            `json:"artifact_name"` // the archive's file name, NAME.zip; the statement is NAME-metadata.json
	RunnerID     string            `json:"runner_id"`
	RunnerName   string            `json:"runner_name"`
	RepoURL      string            `json:"repo_url"`
	RepoDigest   string            `json:"repo_digest"`
	JobID        string            `json:"job_id"`
	JobName      string            `json:"job_name"`
	StartedAt    time.Time         `json:"started_at"`
	EndedAt      time.Time         `json:"ended_at"`
	Parameters   map[string]string `json:"parameters"`
	Schema       string            `json:"schema"`
	Executor     string            `json:"executor,omitempty"`
	Version      string            `json:"version,omitempty"` // of the runner
}

// Remove deletes files and, when Project is set, the project directory (cleanup_file_variables,
// FF_ENABLE_JOB_CLEANUP).
type Remove struct {
	Paths   []string `json:"paths"`
	Project bool     `json:"project"`
}

// Own gives directories below Spec.Base to a user: the one that the next place's processes are. Those that are
// missing are made. No link is followed; one that is in the place of a directory is removed.
type Own struct {
	Dirs  []string `json:"dirs,omitempty"` // themselves alone
	Paths []string `json:"paths"`          // with all that is in them
	UID   int      `json:"uid"`
	GID   int      `json:"gid"`
	// Shut leaves out directories that are the user's already or everybody's to write, and is content with what
	// can be done.
	Shut bool `json:"shut,omitempty"`
}

// Reason says why a stage failed.
type Reason string

// The reasons; the empty one means success.
const (
	Success  Reason = ""
	Failed   Reason = "failed"   // the script or git ended with an exit code other than 0
	Timeout  Reason = "timeout"  // the stage's timeout or the job's deadline
	Canceled Reason = "canceled" // the runner cancelled it
	System   Reason = "system"   // the place is at fault: no shell, no space, no git …
	Lost     Reason = "lost"     // the agent died while the stage ran; said by its successor
)

// Result is how a stage ended. Build agents can lie: treat it as hostile input.
type Result struct {
	Reason   Reason        `json:"reason"`
	ExitCode int           `json:"exit_code"` // of the script; 128+n for signal n
	Message  string        `json:"message"`   // for the job's log, when Reason is not Success
	Started  int64         `json:"started"`   // microseconds since 1970 UTC
	Ended    int64         `json:"ended"`
	Archives []Archive     `json:"archives,omitempty"` // of Pack: what was made; nothing matched: absent
	Caches   []CacheResult `json:"caches,omitempty"`
	Usage    *Usage        `json:"usage,omitempty"` // nil: an older agent
}

// Usage is what a place has used from its beginning to the end of a stage. What is not known is 0.
type Usage struct {
	Place    string        `json:"place"`               // whose; two places may have one agent
	CPU      time.Duration `json:"cpu"`                 // of all processes
	Memory   int64         `json:"memory"`              // the peak in bytes: of the container, else of the largest process
	Limit    int64         `json:"limit,omitempty"`     // of the container's memory in bytes; 0 none
	OOMKills int           `json:"oom_kills,omitempty"` // during the stage: processes that the kernel killed for want of memory
	Fetched  int64         `json:"fetched,omitempty"`   // bytes that the stage brought from a remote repository
}

// Archive is one archive that Pack made.
type Archive struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
	Files  int    `json:"files"`
}

// CacheResult is what became of one cache.
type CacheResult struct {
	Key   string `json:"key"`
	Hit   bool   `json:"hit"`
	Bytes int64  `json:"bytes"`
}
