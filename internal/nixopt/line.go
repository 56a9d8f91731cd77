// Package nixopt knows the values of [runners.nix] that have a syntax of their own. Its errors read on from the name of a
// key.
package nixopt

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Lines are the lines of a nix.conf's text, "name = value", without comments and empty ones.
func Lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

var confLine = regexp.MustCompile(`^([a-z0-9-]+)[ \t]*=`)

// Why a setting is not for extra_conf.
const (
	trusts   = "nobody but the runner is trusted by the daemon"
	escapes  = "it lets programs out of the sandbox, or run beside it"
	collects = "the runner decides what is kept"
)

// Line checks a line of Lines for the nix.conf of a daemon that Skerry keeps: settings that it decides about are refused.
func Line(line string) error {
	m := confLine.FindStringSubmatch(line)
	switch {
	case strings.HasPrefix(line, "include ") || strings.HasPrefix(line, "!include "):
		return fmt.Errorf("must not include other files: write their lines here instead of %q", line)
	case m == nil || strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }):
		return fmt.Errorf("has a line that is not of the form \"name = value\": %q", line)
	}
	name := strings.TrimPrefix(m[1], "extra-")
	why := ownedSetting(name)
	if strings.HasPrefix(name, "sandbox") {
		why = "use sandbox"
	}
	if why != "" {
		return fmt.Errorf("must not set %s: %s", m[1], why)
	}
	return nil
}

// ownedSetting says why a setting of Nix, also by its former name, is not for users; empty when it is.
func ownedSetting(name string) string {
	switch name {
	case "trusted-users", "allowed-users", "require-sigs":
		return trusts
	case "secret-key-files":
		return "secrets do not belong where builds run"
	case "build-users-group", "auto-allocate-uids", "use-cgroups", "store":
		return "it comes with the daemon's container"
	case "filter-syscalls", "allow-new-privileges", "builders", "build-hook", "post-build-hook", "pre-build-hook", "diff-hook", "run-diff-hook", "plugin-files":
		return escapes
	case "min-free", "max-free", "keep-outputs", "keep-derivations", "gc-keep-outputs", "gc-keep-derivations", "auto-optimise-store":
		return collects
	case "substituters", "binary-caches":
		return "use substituters"
	case "trusted-public-keys", "binary-cache-public-keys":
		return "use trusted_public_keys"
	case "max-jobs", "build-max-jobs":
		return "use max_jobs"
	case "cores", "build-cores":
		return "use cores"
	case "build-use-chroot", "build-use-sandbox", "build-chroot-dirs", "build-sandbox-paths":
		return "use sandbox"
	}
	return ""
}
