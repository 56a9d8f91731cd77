package images

import (
	"fmt"
	"strings"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// trouble is what kind of answer an engine's words are.
type trouble int

const (
	other       trouble = iota
	unreachable         // the registry does not answer
	busy                // it answers, but not now: too many requests, its own errors
	missing             // it has no such image
	denied              // it does not show it to this login
	misfit              // it has none for this platform
)

// judge reads an engine's message. Engines pass on what registries say as text. Source for what is
// transient: gitlab-runner common/classify_image_pull_failure.go.
func judge(err error) trouble {
	said := strings.ToLower(err.Error())
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("no matching manifest for", "no image found in manifest list", "no image found in image index", "does not match the specified platform"):
		return misfit
	case has("unauthorized", "access denied", "denied:", "is denied", "authentication required", "no basic auth credentials",
		"invalid username/password", "incorrect username or password", "403 (forbidden)", "403 forbidden", "status: 403", "may require"):
		return denied
	case has("toomanyrequests", "too many requests", "rate limit", "500 internal", "502 bad gateway", "503 service", "504 gateway",
		"internal server error", "bad gateway", "service unavailable", "gateway timeout"):
		return busy
	case has("dial tcp", "connection refused", "no such host", "i/o timeout", "tls handshake", "client.timeout exceeded", "request canceled",
		"connection reset", "network is unreachable", "no route to host", "server misbehaving", "deadline exceeded"):
		return unreachable
	case has("manifest unknown", "name unknown", "not found", "no such image", "no such manifest"):
		return missing
	default:
		return other
	}
}

// failure says it to the job's author, with the reason that GitLab knows.
func failure(ref Reference, login Login, platform string, err error) error {
	with := "without credentials: none were found for " + ref.host
	if !login.empty() {
		with = fmt.Sprintf("with the credentials of user %q from %s", login.Username, login.Source)
	}
	reason, text := job.ReasonImagePull, ""
	switch judge(err) {
	case unreachable:
		reason, text = job.ReasonExternal, fmt.Sprintf("the registry %s does not answer", ref.host)
	case busy:
		text = fmt.Sprintf("the registry %s cannot serve it now (%s)", ref.host, with)
	case missing:
		reason, text = job.ReasonConfiguration, fmt.Sprintf("the registry %s has no such image: check its name and tag", ref.host)
	case denied:
		reason, text = job.ReasonConfiguration, fmt.Sprintf("the registry %s refuses it %s: check the image's name and the job's access to it", ref.host, with)
	case misfit:
		reason, text = job.ReasonConfiguration, fmt.Sprintf("it is not made for %s: choose another image or `platform`", platform)
	}
	if text != "" {
		err = fmt.Errorf("%s: %w", text, err)
	}
	return &executor.Failure{Reason: reason, Err: err}
}
