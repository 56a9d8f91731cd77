package plan

import "strconv"

// Flag is a feature flag that Skerry honours. All others are accepted and ignored.
// Source: docs.gitlab.com/runner/configuration/feature-flags.
type Flag string

// The feature flags, with GitLab Runner's meaning.
const (
	FlagTimestamps     Flag = "FF_TIMESTAMPS"
	FlagScriptSections Flag = "FF_SCRIPT_SECTIONS"
	FlagJobCleanup     Flag = "FF_ENABLE_JOB_CLEANUP"
	FlagExitCodeCheck  Flag = "FF_ENABLE_BASH_EXIT_CODE_CHECK"
	FlagNativeClone    Flag = "FF_USE_GIT_NATIVE_CLONE"
	FlagHashCacheKeys  Flag = "FF_HASH_CACHE_KEYS"
	FlagDirectDownload Flag = "FF_USE_DIRECT_DOWNLOAD"
	FlagMaskDefaults   Flag = "FF_MASK_ALL_DEFAULT_TOKENS"
	FlagKeepUmask      Flag = "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR"
	FlagInit           Flag = "FF_USE_INIT_WITH_DOCKER_EXECUTOR" // the executor's
)

// flagDefaults lists the honoured flags in a fixed order.
func flagDefaults() []struct {
	Flag Flag
	On   bool
} {
	return []struct {
		Flag Flag
		On   bool
	}{
		{FlagTimestamps, true}, {FlagScriptSections, false}, {FlagJobCleanup, false},
		{FlagExitCodeCheck, false}, {FlagNativeClone, false}, {FlagHashCacheKeys, false},
		{FlagDirectDownload, true}, {FlagMaskDefaults, true},
		{FlagKeepUmask, false}, {FlagInit, false},
	}
}

// readFlags resolves every honoured flag: the runner's own setting first, then the job's variable,
// then the default. Source: gitlab-runner common/build_settings.go, populateFeatureFlags.
func readFlags(r Runner, value func(key string) string) (map[Flag]bool, []string) {
	flags := map[Flag]bool{}
	var warnings []string
	for _, d := range flagDefaults() {
		flags[d.Flag] = d.On
		if v, ok := r.FeatureFlags[string(d.Flag)]; ok {
			flags[d.Flag] = v
			continue
		}
		raw := value(string(d.Flag))
		if raw == "" {
			continue
		}
		v, err := strconv.ParseBool(raw)
		if err != nil {
			warnings = append(warnings, string(d.Flag)+": could not parse feature flag, expected bool, got "+strconv.Quote(raw))
			continue
		}
		flags[d.Flag] = v
	}
	return flags, warnings
}
