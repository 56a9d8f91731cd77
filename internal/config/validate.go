package config

import (
	"net/url"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/config/schema"
)

// refuse notes that run must not use r.
func refuse(d *schema.Decoder, r *Runner, path, format string, args ...any) {
	var ps Problems
	if r.Refused != nil {
		ps, _ = r.Refused.(Problems) //nolint:errorlint // only set here
	}
	r.Refused = append(ps, d.Problem(path, format, args...))
}

// validate checks what the types cannot say.
func validate(c *Config, d *schema.Decoder, opts Options) {
	if c.Concurrent < 0 {
		d.Fail("concurrent", "must not be negative, is %d", c.Concurrent)
	} else if c.Concurrent == 0 {
		d.Warn("concurrent", "is 0: no job is going to be run; set it to how many jobs may run at once")
	}
	oneOf(d.Fail, "log_level", c.LogLevel, "debug", "info", "warn", "warning", "error", "fatal", "panic")
	oneOf(d.Fail, "log_format", c.LogFormat, "runner", "text", "json")
	if c.ConnectionMaxAge != nil && *c.ConnectionMaxAge < 0 {
		d.Fail("connection_max_age", "must not be negative")
	}
	if c.SessionServer.SessionTimeout < 0 {
		d.Fail("session_server.session_timeout", "must not be negative")
	}
	seen := map[[2]string]int{}
	for _, r := range c.Runners {
		at := schema.Element("runners", r.Index)
		validateIdentity(r, d, at)
		validateExecutor(r, d, at, opts)
		validateNumbers(r, d, at)
		validateDocker(r, d, at)
		validateSlotCgroups(r, d, at)
		validateNix(r, d, at)
		validateCache(r, d, at)
		for i, e := range r.Environment {
			if k, _, ok := strings.Cut(e, "="); !ok || k == "" {
				d.Warn(schema.Element(schema.Join(at, "environment"), i), "is not of the form KEY=VALUE and has no effect")
			}
		}
		id := [2]string{r.URL, r.Token}
		if first, twice := seen[id]; twice && r.Token != "" {
			d.Warn(schema.Join(at, "token"), "is the same as that of runners[%d]: both ask for the jobs of one runner", first)
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

func validateIdentity(r *Runner, d *schema.Decoder, at string) {
	no := func(path, format string, args ...any) { refuse(d, r, path, format, args...) }
	if r.URL == "" {
		no(schema.Join(at, "url"), "is missing: set it to the address of GitLab")
	} else {
		checkURL(no, schema.Join(at, "url"), r.URL)
	}
	if r.CloneURL != "" {
		checkURL(no, schema.Join(at, "clone_url"), r.CloneURL)
	}
	if strings.TrimSpace(r.Token) == "" && r.TokenFile == "" {
		no(schema.Join(at, "token"), "is missing: register the runner, or set token or token_file")
	} else if strings.ContainsFunc(r.Token, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		no(schema.Join(at, "token"), "contains a space or a control character: it was not copied whole or has something around it")
	}
	if (r.TLSCertFile == "") != (r.TLSKeyFile == "") {
		no(schema.Join(at, "tls-cert-file"), "needs tls-key-file and the other way round")
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

func validateExecutor(r *Runner, d *schema.Decoder, at string, opts Options) {
	have := opts.Executors
	if have == nil {
		have = KnownExecutors()
	}
	path := schema.Join(at, "executor")
	switch {
	case r.Executor == "":
		refuse(d, r, path, "is missing: set it to one of %s", strings.Join(have, ", "))
	case slices.Contains(have, r.Executor):
	case slices.Contains(KnownExecutors(), r.Executor):
		refuse(d, r, path, "the %s executor is not part of this version of Skerry, which has: %s", r.Executor, strings.Join(have, ", "))
	default:
		refuse(d, r, path, "Skerry has no executor %q; use one of %s, or leave this runner to GitLab Runner", r.Executor, strings.Join(have, ", "))
	}
	oneOf(func(path, format string, args ...any) { refuse(d, r, path, format, args...) },
		schema.Join(at, "shell"), r.Shell, "bash", "sh", "pwsh")
}

func validateNumbers(r *Runner, d *schema.Decoder, at string) {
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
			d.Warn(schema.Join(at, n.key), "is negative: the default is used")
		}
	}
	if r.Limit < 0 {
		r.Limit = 0
	}
	if r.UnhealthyInterval != nil && *r.UnhealthyInterval < 0 {
		refuse(d, r, schema.Join(at, "unhealthy_interval"), "must not be negative")
	}
}

func validateCache(r *Runner, d *schema.Decoder, at string) {
	k := r.Cache
	if k == nil {
		return
	}
	at = schema.Join(at, "cache")
	switch k.Type {
	case "", "s3", "gcs", "azure":
	default:
		d.Warn(schema.Join(at, "Type"), "must be s3, gcs or azure, is %q: caches stay on this machine", k.Type)
	}
	if k.MaxUploadedArchiveSize < 0 {
		d.Warn(schema.Join(at, "MaxUploadedArchiveSize"), "is negative: there is no limit")
	}
}
