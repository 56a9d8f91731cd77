package gateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// Where SetOptions has what.
const (
	optKeepFailed = 0
	optVerbosity  = 3
	optMaxJobs    = 4
	optOverrides  = 12
)

// maxVerbosity is Nix's most talkative level.
const maxVerbosity = 7

// passed are the settings that daemons take from clients whom they do not trust.
func passed(name, value string) bool {
	switch name {
	case "timeout", "build-timeout", "max-silent-time", "build-max-silent-time", "poll-interval", "build-poll-interval", "connect-timeout",
		"substituters", "binary-caches": // of these the daemon takes those that its own configuration allows
		return true
	case "builders":
		return value == ""
	}
	return false
}

// missed reports whether a user who sets name would wonder why it has no effect. Others are sent by every client without
// anybody having asked for it, or make no difference.
func missed(name, value string) bool {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "extra-"), "build-")
	return strings.HasPrefix(name, "sandbox") || strings.HasPrefix(name, "allowed-") || strings.HasPrefix(name, "trusted-") || strings.HasPrefix(name, "use-sandbox") ||
		slices.Contains([]string{
			"substituters", "binary-caches", "post-build-hook", "pre-build-hook", "build-hook", "hook", "run-diff-hook", "diff-hook", "netrc-file", "secret-key-files",
			"plugin-files", "require-sigs", "filter-syscalls", "system-features", "platforms", "keep-derivations", "keep-outputs", "min-free", "max-free",
		}, name) || name == "builders" && value != ""
}

// told are the settings that the job has been told of.
type told struct {
	mu    sync.Mutex
	names map[string]bool
}

// maxTold bounds how many settings a job is told of.
const maxTold = 32

// first reports whether name has not been told of before.
func (t *told) first(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.names[name] || len(t.names) >= maxTold {
		return false
	}
	if t.names == nil {
		t.names = map[string]bool{}
	}
	t.names[name] = true
	return true
}

// options are a client's options as the daemon may have them. The client is told of those that are left out and would be
// missed, once for the job.
func (s *session) options(request []nixwire.Token) []nixwire.Token {
	kept := slices.Clone(request[:optOverrides+1])
	kept[optKeepFailed].Int = 0 // what a failed build leaves lies where no job can see it
	kept[optVerbosity].Int = min(kept[optVerbosity].Int, maxVerbosity)
	kept[optMaxJobs].Int = min(kept[optMaxJobs].Int, uint64(s.g.c.MaxJobs)) //nolint:gosec // positive
	kept[optOverrides].Int = 0
	for pair := request[optOverrides+1:]; len(pair) > 1; pair = pair[2:] {
		name, value := pair[0].Str, pair[1].Str
		switch {
		case passed(name, value):
			kept[optOverrides].Int++
			kept = append(kept, pair[:2]...)
		case missed(name, value) && s.g.told.first(name):
			m := nixwire.Message{Kind: nixwire.Next, Text: fmt.Sprintf("warning: the setting '%s' has no effect here: Skerry's Nix store is shared, and its own configuration decides\n", name)}
			m.Write(s.client.W)
		}
	}
	return kept
}
