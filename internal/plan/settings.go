package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
)

// Settings is what the job's variables say about how the runner should do its work.
// Source: gitlab-runner common/build_settings.go and docs.gitlab.com/ci/runners/configure_runners.
type Settings struct {
	DebugTrace    bool // CI_DEBUG_TRACE
	DebugServices bool // CI_DEBUG_SERVICES

	GitStrategy      string
	GitCheckout      bool
	GitClonePath     string
	CleanFlags       []string // nil: do not clean
	FetchFlags       []string
	CloneFlags       []string
	LFSSkipSmudge    bool
	SubmoduleMode    string
	SubmodulePaths   []string
	SubmoduleDepth   int
	SubmoduleFlags   []string
	SubmoduleHTTPS   bool
	GetSources       int // attempts
	DownloadAttempts int
	RestoreAttempts  int
	SectionAttempts  int

	CacheTimeout    time.Duration
	CacheLevel      string
	CacheFormat     string
	ArtifactLevel   string
	Metadata        bool
	FallbackKey     string
	IgnoreAfterFail bool

	ScriptTimeout      time.Duration // 0: only the job's
	AfterScriptTimeout time.Duration

	// Warnings are for the job's log: values that could not be understood, and what was taken instead.
	Warnings []string
}

// afterScriptTimeout is RUNNER_AFTER_SCRIPT_TIMEOUT's default.
const afterScriptTimeout = 5 * time.Minute

// settingsReader reads typed values from variables and collects what is wrong with them.
type settingsReader struct {
	value    func(key string) string
	warnings []string
}

func (r *settingsReader) warn(key, want, got, taken string) {
	r.warnings = append(r.warnings, fmt.Sprintf("%s: expected %s got %q, using default value: %s", key, want, got, taken))
}

func (r *settingsReader) boolean(key string, def bool) bool {
	raw := r.value(key)
	if raw == "" {
		return def
	}
	v, err := strconv.ParseBool(raw)
	if err != nil {
		r.warn(key, "bool", raw, strconv.FormatBool(def))
		return def
	}
	return v
}

func (r *settingsReader) integer(key string, def int) int {
	raw := r.value(key)
	if raw == "" {
		return def
	}
	v, err := strconv.Atoi(raw)
	if err != nil {
		r.warn(key, "int", raw, strconv.Itoa(def))
		return def
	}
	return v
}

// attempts reads a number of attempts, clamped to what GitLab documents: 1 to 10.
func (r *settingsReader) attempts(key string) int {
	v := r.integer(key, 1)
	if clamped := max(1, min(10, v)); clamped != v {
		r.warnings = append(r.warnings, fmt.Sprintf("%s: number of attempts out of the range [1, 10], clamping to: %d", key, clamped))
		return clamped
	}
	return v
}

// flags reads space-separated git flags; "none" means no flag at all.
func (r *settingsReader) flags(key string, def ...string) []string {
	switch raw := r.value(key); raw {
	case "":
		return def
	case "none":
		return nil
	default:
		return strings.Fields(raw)
	}
}

func (r *settingsReader) choice(key, def string, allowed ...string) string {
	return r.oneOf(key, r.value(key), def, allowed...)
}

func (r *settingsReader) oneOf(key, raw, def string, allowed ...string) string {
	if raw == "" {
		return def
	}
	if slices.Contains(allowed, raw) {
		return raw
	}
	r.warn(key, "one of "+strings.Join(allowed, ", "), raw, def)
	return def
}

// timeout reads a duration in Go's notation ("1h30m"); what is negative or exceeds the job's own timeout is
// ignored with a warning. Source: gitlab-runner common/build.go, getStageTimeoutContexts.
func (r *settingsReader) timeout(key string, def, whole time.Duration) time.Duration {
	raw := r.value(key)
	if strings.TrimSpace(raw) == "" {
		return def
	}
	taken := "the job's timeout"
	if def > 0 {
		taken = "the default value: " + def.String()
	}
	d, err := time.ParseDuration(raw)
	switch {
	case err != nil:
		r.warnings = append(r.warnings, fmt.Sprintf("%s: expected a duration such as 10m got %q, using %s", key, raw, taken))
	case d < 0:
		r.warnings = append(r.warnings, fmt.Sprintf("%s: %s is negative, using %s", key, raw, taken))
	case d > whole:
		r.warnings = append(r.warnings, fmt.Sprintf("%s: %s is longer than the job's timeout (%s), using %s", key, raw, whole, taken))
	case d > 0:
		return d
	}
	return def
}

func readSettings(j *job.Job, r Runner, value func(key string) string, timeout time.Duration) Settings {
	s := &settingsReader{value: value}
	strategy := "clone"
	if j.AllowGitFetch {
		strategy = "fetch"
	}
	set := Settings{
		DebugTrace:         s.boolean("CI_DEBUG_TRACE", false),
		DebugServices:      s.boolean("CI_DEBUG_SERVICES", false),
		GitStrategy:        s.choice("GIT_STRATEGY", strategy, "clone", "fetch", "none", "empty"),
		GitCheckout:        s.boolean("GIT_CHECKOUT", true),
		GitClonePath:       value("GIT_CLONE_PATH"),
		CleanFlags:         s.flags("GIT_CLEAN_FLAGS", "-ffdx"),
		FetchFlags:         s.flags("GIT_FETCH_EXTRA_FLAGS", "--prune", "--quiet"),
		CloneFlags:         s.flags("GIT_CLONE_EXTRA_FLAGS"),
		LFSSkipSmudge:      s.boolean("GIT_LFS_SKIP_SMUDGE", false),
		SubmoduleMode:      s.choice("GIT_SUBMODULE_STRATEGY", "none", "none", "normal", "recursive"),
		SubmodulePaths:     strings.Fields(value("GIT_SUBMODULE_PATHS")),
		SubmoduleDepth:     s.integer("GIT_SUBMODULE_DEPTH", j.Git.Depth),
		SubmoduleFlags:     s.flags("GIT_SUBMODULE_UPDATE_FLAGS"),
		SubmoduleHTTPS:     s.boolean("GIT_SUBMODULE_FORCE_HTTPS", false),
		GetSources:         s.attempts("GET_SOURCES_ATTEMPTS"),
		DownloadAttempts:   s.attempts("ARTIFACT_DOWNLOAD_ATTEMPTS"),
		RestoreAttempts:    s.attempts("RESTORE_CACHE_ATTEMPTS"),
		SectionAttempts:    s.attempts("EXECUTOR_JOB_SECTION_ATTEMPTS"),
		CacheTimeout:       time.Duration(s.integer("CACHE_REQUEST_TIMEOUT", 10)) * time.Minute,
		CacheLevel:         s.choice("CACHE_COMPRESSION_LEVEL", "default", "fastest", "fast", "default", "slow", "slowest"),
		CacheFormat:        s.oneOf("CACHE_COMPRESSION_FORMAT", strings.ToLower(value("CACHE_COMPRESSION_FORMAT")), "zip", "zip", "zipzstd", "tarzstd"),
		ArtifactLevel:      s.choice("ARTIFACT_COMPRESSION_LEVEL", "default", "fastest", "fast", "default", "slow", "slowest"),
		Metadata:           s.boolean("RUNNER_GENERATE_ARTIFACTS_METADATA", false),
		FallbackKey:        value("CACHE_FALLBACK_KEY"),
		IgnoreAfterFail:    s.boolean("AFTER_SCRIPT_IGNORE_ERRORS", true),
		ScriptTimeout:      s.timeout("RUNNER_SCRIPT_TIMEOUT", 0, timeout),
		AfterScriptTimeout: s.timeout("RUNNER_AFTER_SCRIPT_TIMEOUT", afterScriptTimeout, timeout),
	}
	if r.DebugTraceDisabled && set.DebugTrace {
		set.DebugTrace = false
		s.warnings = append(s.warnings, "CI_DEBUG_TRACE: usage is disabled on this Runner")
	}
	set.Warnings = s.warnings
	return set
}
