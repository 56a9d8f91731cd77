package images

import "slices"

// The pull policies.
const (
	Always       = "always"
	IfNotPresent = "if-not-present"
	Never        = "never"
)

func known(policy string) bool {
	return policy == Always || policy == IfNotPresent || policy == Never
}

// Policies are those to try in order: the job's, else the runner's, else "always", without what is not
// allowed. Source: gitlab-runner helpers/pull_policies.
func (r Rules) Policies(ofJob []string) ([]string, error) {
	from, wanted := "GitLab pipeline config", ofJob
	if len(wanted) == 0 {
		from, wanted = "Runner config", r.PullPolicy
	}
	if len(wanted) == 0 {
		from, wanted = "Runner config (default)", []string{Always}
	}
	allowed := r.AllowedPolicies
	if len(allowed) == 0 {
		allowed = r.PullPolicy
	}
	if len(allowed) == 0 {
		allowed = []string{Always}
	}
	var out []string
	for _, p := range wanted {
		if !known(p) {
			return nil, fault("pull_policy defined in %s: %q is no pull policy: use %q, %q or %q", from, p, Always, IfNotPresent, Never)
		}
		if slices.Contains(allowed, p) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fault("pull_policy (%v) defined in %s is not one of the allowed_pull_policies (%v)", wanted, from, allowed)
	}
	return out, nil
}
