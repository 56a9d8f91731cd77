// Package runnertoken knows the kinds of tokens that runners have: by what they begin with.
package runnertoken

import "strings"

// IsRunner reports whether token is a runner authentication token (glrt- when the runner was
// made in GitLab, glrtr- when it came from a registration) and not a registration token. Tags,
// access level, lock and timeout of such a runner belong to the server.
// Source: app/models/ci/runner.rb of GitLab.
func IsRunner(token string) bool {
	return IsCreated(token) || strings.HasPrefix(token, "glrtr-")
}

// IsCreated reports whether token belongs to a runner that was made in GitLab (glrt-).
// Unregistering one deletes this machine's manager, not the runner, which others may share.
// Source: network/gitlab.go of GitLab Runner.
func IsCreated(token string) bool { return strings.HasPrefix(token, "glrt-") }

// Short returns the first nine characters of token without the prefixes that all tokens of its kind
// share, which identifies a runner and gives nothing away. It is CI_RUNNER_SHORT_TOKEN and a part of the
// project directory's path, so that it must be GitLab Runner's to the letter: of glrtr-t1_… the partition
// stays. Source: helpers/shorten_token.go of GitLab Runner.
func Short(token string) string {
	const length = 9
	if rest, ok := strings.CutPrefix(token, "glrtr-"); ok {
		token = rest
	} else {
		token = withoutPartition(strings.TrimPrefix(token, "glrt-"))
	}
	token = strings.TrimPrefix(token, "glcbt-")
	if len(token) >= 9 && strings.HasPrefix(token, "GR") && isHex(token[2:9]) {
		token = token[9:]
	}
	return token[:min(length, len(token))]
}

// withoutPartition takes t1_, t2_ or t3_ off, which newer tokens begin with.
func withoutPartition(token string) string {
	if len(token) > 2 && token[0] == 't' && token[1] >= '1' && token[1] <= '3' && token[2] == '_' {
		return token[3:]
	}
	return token
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}
