package config

import (
	"net/url"
	"slices"
	"strings"
)

// refuse notes that run must not use r.
func (d *decoder) refuse(r *Runner, path, format string, args ...any) {
	var ps Problems
	if r.Refused != nil {
		ps, _ = r.Refused.(Problems) //nolint:errorlint // only set here
	}
	r.Refused = append(ps, d.problem(path, format, args...))
}

// validate checks what the types cannot say.
func validate(c *Config, d *decoder, opts Options) {
	if c.Concurrent < 0 {
		d.fail("concurrent", "must not be negative, is %d", c.Concurrent)
	} else if c.Concurrent == 0 {
		d.warn("concurrent", "is 0: no job is going to be run; set it to how many jobs may run at once")
	}
	oneOf(d.fail, "log_level", c.LogLevel, "debug", "info", "warn", "warning", "error", "fatal", "panic")
	oneOf(d.fail, "log_format", c.LogFormat, "runner", "text", "json")
	if c.ConnectionMaxAge != nil && *c.ConnectionMaxAge < 0 {
		d.fail("connection_max_age", "must not be negative")
	}
	if c.SessionServer.SessionTimeout < 0 {
		d.fail("session_server.session_timeout", "must not be negative")
	}
	seen := map[[2]string]int{}
	for _, r := range c.Runners {
		at := element("runners", r.Index)
		validateIdentity(r, d, at)
		validateExecutor(r, d, at, opts)
		validateNumbers(r, d, at)
		validateDocker(r, d, at)
		validateCache(r, d, at)
		for i, e := range r.Environment {
			if k, _, ok := strings.Cut(e, "="); !ok || k == "" {
				d.warn(element(join(at, "environment"), i), "is not of the form KEY=VALUE and has no effect")
			}
		}
		id := [2]string{r.URL, r.Token}
		if first, twice := seen[id]; twice && r.Token != "" {
			d.warn(join(at, "token"), "is the same as that of runners[%d]: both ask for the jobs of one runner", first)
		} else {
			seen[id] = r.Index
		}
	}
}

type report func(path, format string, args ...any)

// oneOf reports a value that is set and none of the allowed ones.
func oneOf(report report, path, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		report(path, "must be one of %s, is %q", strings.Join(allowed, ", "), value)
	}
}

func validateIdentity(r *Runner, d *decoder, at string) {
	refuse := func(path, format string, args ...any) { d.refuse(r, path, format, args...) }
	if r.URL == "" {
		refuse(join(at, "url"), "is missing: set it to the address of GitLab")
	} else {
		checkURL(refuse, join(at, "url"), r.URL)
	}
	if r.CloneURL != "" {
		checkURL(refuse, join(at, "clone_url"), r.CloneURL)
	}
	if strings.TrimSpace(r.Token) == "" && r.TokenFile == "" {
		refuse(join(at, "token"), "is missing: register the runner, or set token or token_file")
	} else if strings.ContainsFunc(r.Token, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		refuse(join(at, "token"), "contains a space or a control character: it was not copied whole or has something around it")
	}
	if (r.TLSCertFile == "") != (r.TLSKeyFile == "") {
		refuse(join(at, "tls-cert-file"), "needs tls-key-file and the other way round")
	}
}

func checkURL(report report, path, value string) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		report(path, "must be an address that begins with https:// or http://, is %q", redacted(value))
	}
}

// redacted leaves out what may be a password in an address that cannot be parsed.
func redacted(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "...@" + address[i+1:]
	}
	return address
}

func validateExecutor(r *Runner, d *decoder, at string, opts Options) {
	have := opts.Executors
	if have == nil {
		have = KnownExecutors()
	}
	path := join(at, "executor")
	switch {
	case r.Executor == "":
		d.refuse(r, path, "is missing: set it to one of %s", strings.Join(have, ", "))
	case slices.Contains(have, r.Executor):
	case slices.Contains(KnownExecutors(), r.Executor):
		d.refuse(r, path, "the %s executor is not part of this version of Skerry, which has: %s", r.Executor, strings.Join(have, ", "))
	default:
		d.refuse(r, path, "Skerry has no executor %q; use one of %s, or leave this runner to GitLab Runner", r.Executor, strings.Join(have, ", "))
	}
	oneOf(func(path, format string, args ...any) { d.refuse(r, path, format, args...) },
		join(at, "shell"), r.Shell, "bash", "sh", "pwsh")
}

func validateNumbers(r *Runner, d *decoder, at string) {
	for _, n := range []struct {
		key   string
		value int
	}{
		{"limit", r.Limit},
		{"output_limit", r.OutputLimit},
		{"request_concurrency", r.RequestConcurrency},
		{"unhealthy_requests_limit", r.UnhealthyRequestsLimit},
		{"job_status_final_update_retry_limit", r.JobStatusFinalUpdateRetryLimit},
	} {
		if n.value < 0 {
			d.warn(join(at, n.key), "is negative: the default is used")
		}
	}
	if r.Limit < 0 {
		r.Limit = 0
	}
	if r.UnhealthyInterval != nil && *r.UnhealthyInterval < 0 {
		d.refuse(r, join(at, "unhealthy_interval"), "must not be negative")
	}
}

func validateDocker(r *Runner, d *decoder, at string) {
	k := r.Docker
	if k == nil || r.Executor != "docker" {
		if r.Executor == "docker" {
			d.refuse(r, join(at, "docker"), "is missing: add a [runners.docker] section with an image")
		}
		return
	}
	at = join(at, "docker")
	refuse := func(path, format string, args ...any) { d.refuse(r, path, format, args...) }
	if k.Image == "" {
		refuse(join(at, "image"), "is missing: set it to the image for jobs that name none")
	}
	for _, p := range k.PullPolicy {
		oneOf(refuse, join(at, "pull_policy"), p, "always", "if-not-present", "never")
	}
	for _, p := range k.AllowedPullPolicies {
		oneOf(refuse, join(at, "allowed_pull_policies"), p, "always", "if-not-present", "never")
	}
	for _, s := range [][2]string{
		{"memory", k.Memory}, {"memory_swap", k.MemorySwap}, {"memory_reservation", k.MemoryReservation},
		{"service_memory", k.ServiceMemory}, {"service_memory_swap", k.ServiceMemorySwap},
		{"service_memory_reservation", k.ServiceMemoryReservation},
	} {
		if s[1] == "" || s[1] == "-1" {
			continue
		}
		if _, err := ParseSize(s[1]); err != nil {
			refuse(join(at, s[0]), "%v", err)
		}
	}
}

func validateCache(r *Runner, d *decoder, at string) {
	k := r.Cache
	if k == nil {
		return
	}
	at = join(at, "cache")
	switch k.Type {
	case "", "s3", "gcs", "azure":
	default:
		d.warn(join(at, "Type"), "must be s3, gcs or azure, is %q: caches stay on this machine", k.Type)
	}
	if k.MaxUploadedArchiveSize < 0 {
		d.warn(join(at, "MaxUploadedArchiveSize"), "is negative: there is no limit")
	}
}
