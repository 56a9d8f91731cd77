package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/job"
)

// Rules is what the runner's configuration says about images. Keys are named and mean as in GitLab
// Runner's [runners.docker].
type Rules struct {
	PullPolicy        []string `json:"pull_policy,omitempty"`
	AllowedPolicies   []string `json:"allowed_pull_policies,omitempty"`
	AllowedImages     []string `json:"allowed_images,omitempty"`
	AllowedServices   []string `json:"allowed_services,omitempty"`
	AllowedUsers      []string `json:"allowed_users,omitempty"`
	PrivilegedImages  []string `json:"allowed_privileged_images,omitempty"`
	PrivilegedService []string `json:"allowed_privileged_services,omitempty"`
}

// Validate names every value that cannot be meant.
func (r Rules) Validate() error {
	var errs []error
	for key, list := range map[string][]string{"pull_policy": r.PullPolicy, "allowed_pull_policies": r.AllowedPolicies} {
		for _, p := range list {
			if !known(p) {
				errs = append(errs, fmt.Errorf("%s: %q is no pull policy: use %q, %q or %q", key, p, Always, IfNotPresent, Never))
			}
		}
	}
	for key, list := range map[string][]string{
		"allowed_images": r.AllowedImages, "allowed_services": r.AllowedServices,
		"allowed_privileged_images": r.PrivilegedImages, "allowed_privileged_services": r.PrivilegedService,
	} {
		for _, p := range list {
			if !doublestar.ValidatePattern(strings.TrimPrefix(p, "!")) {
				errs = append(errs, fmt.Errorf("%s: %q is no valid pattern: brackets and braces have to be closed", key, p))
			}
		}
	}
	return errors.Join(errs...)
}

// CheckImage says why a job may not use an image; own is the runner's default, which it always may.
func (r Rules) CheckImage(name string, own ...string) error {
	return check("images", "allowed_images", r.AllowedImages, name, own)
}

// CheckService is CheckImage for a service; own are the services of the runner's configuration.
func (r Rules) CheckService(name string, own ...string) error {
	return check("services", "allowed_services", r.AllowedServices, name, own)
}

// CheckUser says why a job may not run as user. Without a list it may run as the one that the
// configuration names, and as any when it names none; the image's own (an empty one) is always allowed.
func (r Rules) CheckUser(user, configured string) error {
	allowed := r.AllowedUsers
	if len(allowed) == 0 && configured != "" {
		allowed = []string{configured}
	}
	if user == "" || len(allowed) == 0 || slices.Contains(allowed, user) {
		return nil
	}
	return fault("user %q is not an allowed user: %v: see allowed_users in [runners.docker]", user, allowed)
}

// Privileged reports whether a container of the job's image may have the privileges that the
// configuration gives.
func (r Rules) Privileged(name string) bool { return privileged(r.PrivilegedImages, name) }

// PrivilegedServices is Privileged for a service.
func (r Rules) PrivilegedServices(name string) bool { return privileged(r.PrivilegedService, name) }

func privileged(list []string, name string) bool {
	if len(list) == 0 {
		return true
	}
	ref, err := Parse(name)
	return err == nil && allows(list, ref)
}

func check(what, key string, list []string, name string, own []string) error {
	ref, err := Parse(name)
	if err != nil {
		return &executor.Failure{Reason: job.ReasonConfiguration, Err: err}
	}
	for _, o := range own {
		if mine, err := Parse(o); err == nil && mine.same(ref) {
			return nil
		}
	}
	if len(list) == 0 || allows(list, ref) {
		return nil
	}
	return fault("The %q image is not present on list of allowed %s: %s: use one of these, or ask for a change of %s in the runner's [runners.docker]",
		name, what, strings.Join(list, ", "), key)
}

func (r Reference) same(o Reference) bool {
	return r.Canonical() == o.Canonical()
}

// allows reports whether one of the patterns matches r and none that begins with "!" does.
func allows(patterns []string, r Reference) bool {
	allowed := false
	for _, p := range patterns {
		if not, ok := strings.CutPrefix(p, "!"); ok {
			if excludes(not, r) {
				return false
			}
			continue
		}
		allowed = allowed || r.matches(p)
	}
	return allowed
}

// Stand-ins for every tag and every digest, of a character that neither has: what matches a pattern with
// these matches it whatever tag and digest are.
const (
	everyTag    = "~"
	everyDigest = "sha256:~"
)

// matches reports whether a pattern allows r, in any way to write it. A digest decides what is run and a
// tag beside it nothing, so a pattern that asks for certain tags allows no digest, unless it names some.
func (r Reference) matches(pattern string) bool {
	if r.id != "" {
		return matchID(pattern, r.id)
	}
	tag, digest := r.tag, r.digest
	if digest != "" && !strings.Contains(pattern, "@") {
		tag, digest = everyTag, everyDigest
	}
	for _, repo := range r.repositories() {
		switch {
		case digest == "":
			if match(pattern, repo+":"+tag) || tag == defaultTag && match(pattern, repo) {
				return true
			}
		case match(pattern, repo+"@"+digest), r.tag != "" && match(pattern, repo+":"+tag+"@"+digest):
			return true
		}
	}
	return false
}

// matchID: an ID says nothing about where an image is from, so only a pattern that is an ID itself or
// allows everything counts.
func matchID(pattern, id string) bool {
	switch pattern {
	case "*", "**", "**/*":
		return true
	default:
		return strings.HasPrefix(pattern, "sha256:") && match(pattern, id)
	}
}

// excludes reports whether a pattern after "!" forbids r. In doubt it does: a digest may be any tag's.
func excludes(pattern string, r Reference) bool {
	if r.id != "" {
		return true
	}
	repos := r.repositories()
	if host, port, ok := strings.Cut(r.host, ":"); ok && port != "" {
		repos = append(repos, host+"/"+r.path)
	}
	bare := withoutTag(pattern)
	for _, repo := range repos {
		switch {
		case r.digest != "":
			if match(bare, repo) || match(pattern, repo+"@"+r.digest) || match(pattern, repo) {
				return true
			}
		case match(pattern, repo+":"+r.tag), pattern == bare && match(pattern, repo):
			return true
		}
	}
	return false
}

// withoutTag cuts the part of a pattern that is about tags or digests.
func withoutTag(pattern string) string {
	pattern, _, _ = strings.Cut(pattern, "@")
	if colon := strings.LastIndexByte(pattern, ':'); colon > strings.LastIndexByte(pattern, '/') {
		pattern = pattern[:colon]
	}
	return pattern
}

// match compares as GitLab Runner does; hosts and repositories have no upper case, patterns may.
func match(pattern, name string) bool {
	if ok, err := doublestar.Match(pattern, name); err == nil && ok {
		return true
	}
	host, rest, ok := strings.Cut(pattern, "/")
	if !ok {
		return false
	}
	ok, err := doublestar.Match(strings.ToLower(host)+"/"+rest, name)
	return err == nil && ok
}

func fault(format string, args ...any) error {
	return &executor.Failure{Reason: job.ReasonConfiguration, Err: fmt.Errorf(format, args...)}
}
