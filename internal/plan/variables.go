package plan

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

func public(key, value string) job.Variable {
	return job.Variable{Key: key, Value: value, Public: true}
}

// environmentVariable reads one entry of the runner's `environment`: KEY=VALUE. Services get it, too.
func environmentVariable(entry string) (job.Variable, bool) {
	key, value, ok := strings.Cut(entry, "=")
	return job.Variable{Key: key, Value: value, Public: true}, ok && key != ""
}

// before lists the variables that the job's own may override.
// Source of the order: gitlab-runner common/build.go, getBaseVariablesBeforeJob.
func (p *Plan) before() job.Variables {
	var vars job.Variables
	if p.Job.Image != nil && p.Job.Image.Name != "" {
		vars = append(vars, public("CI_JOB_IMAGE", p.Job.Image.Name))
	}
	vars = append(vars, public("CI_RUNNER_SHORT_TOKEN", runnertoken.Short(p.Runner.Token)))
	for _, entry := range p.Runner.Environment {
		if v, ok := environmentVariable(entry); ok {
			vars = append(vars, v)
		}
	}
	vars = append(vars,
		public("CI_BUILDS_DIR", p.Layout.Builds),
		public("CI_PROJECT_DIR", p.Layout.Project),
		public("CI_CONCURRENT_ID", strconv.Itoa(p.Slot.Concurrent)),
		public("CI_CONCURRENT_PROJECT_ID", strconv.Itoa(p.Slot.Project)),
		public("CI_SERVER", "yes"),
		public("CI_JOB_STATUS", "running"),
		public("CI_JOB_TIMEOUT", strconv.Itoa(int(p.Timeout/time.Second))),
	)
	if p.Runner.CAPEM != "" {
		vars = append(vars, job.Variable{Key: "CI_SERVER_TLS_CA_FILE", Value: p.Runner.CAPEM, Public: true, File: true, Raw: true})
	}
	if p.Runner.CertPEM != "" && p.Runner.KeyPEM != "" {
		vars = append(vars,
			job.Variable{Key: "CI_SERVER_TLS_CERT_FILE", Value: p.Runner.CertPEM, Public: true, File: true, Raw: true},
			job.Variable{Key: "CI_SERVER_TLS_KEY_FILE", Value: p.Runner.KeyPEM, File: true, Raw: true})
	}
	return vars
}

// after lists the variables that win over the job's own.
// Source: gitlab-runner common/build.go, getBaseVariablesAfterJob.
func (p *Plan) after() job.Variables {
	shared := "CI_DISPOSABLE_ENVIRONMENT"
	if p.Runner.Shared {
		shared = "CI_SHARED_ENVIRONMENT"
	}
	return job.Variables{
		public(shared, "true"),
		public("CI_RUNNER_VERSION", p.Version.Version),
		public("CI_RUNNER_REVISION", p.Version.Revision),
		public("CI_RUNNER_EXECUTABLE_ARCH", p.Version.Platform+"/"+p.Version.Arch),
		public("RUNNER_TEMP_PROJECT_DIR", p.Layout.Temp),
		public("GITLAB_ENV", p.envFile()),
	}
}

// envFile is the file to which a step writes KEY=VALUE lines for the steps after it.
// Its name is the job's own, so that what a job that died left there is not read by the next one.
func (p *Plan) envFile() string {
	return p.Layout.Temp + "/gitlab_runner_env_" + strconv.FormatInt(p.Job.ID, 10)
}

// resolve puts all variables in their order and expands them once.
func (p *Plan) resolve() job.Variables {
	vars := p.before()
	for _, d := range flagDefaults() {
		if p.Flags != nil {
			vars = append(vars, public(string(d.Flag), strconv.FormatBool(p.Flags[d.Flag])))
		}
	}
	for _, v := range p.Job.Variables {
		if p.Flags != nil && isFlag(v.Key) {
			continue // resolved above, where the runner's own setting wins
		}
		vars = append(vars, v)
	}
	vars = append(vars, p.after()...)
	return vars.Expand(p.filePath)
}

func isFlag(key string) bool {
	return slices.ContainsFunc(flagDefaults(), func(d struct {
		Flag Flag
		On   bool
	}) bool {
		return string(d.Flag) == key
	})
}

// filePath is where the job finds the content of a file variable.
func (p *Plan) filePath(key string) string { return p.Layout.Temp + "/" + key }

// Value is the value of a variable as the job's author reads it: a file variable's path.
func (p *Plan) Value(key string) string {
	v, ok := p.Variables.Lookup(key)
	switch {
	case !ok:
		return ""
	case v.File:
		return p.filePath(key)
	default:
		return v.Value
	}
}

// Expand replaces $VAR and ${VAR} in text that the job's author wrote.
func (p *Plan) Expand(text string) string { return p.Variables.ExpandString(text, p.filePath) }

// expandAll expands every element into a new slice.
func (p *Plan) expandAll(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = p.Expand(t)
	}
	return out
}

// environment is what a stage gets: each variable once, its last value, in order.
func (p *Plan) environment(status string) []stage.Var {
	vars := p.Variables.Dedup()
	out := make([]stage.Var, 0, len(vars))
	for _, v := range vars {
		e := stage.Var{Key: v.Key, Value: v.Value}
		if v.File {
			e.File = p.filePath(v.Key)
		}
		if v.Key == "CI_JOB_STATUS" && status != "" {
			e.Value = status
		}
		out = append(out, e)
	}
	return out
}

// Secrets lists every value that must not appear in the job's log.
func (p *Plan) Secrets() []string {
	var secrets []string
	known := map[string]bool{"": true} // a job may have thousands
	add := func(s string) {
		if !known[s] {
			known[s] = true
			secrets = append(secrets, s)
		}
	}
	for _, v := range p.Job.Variables {
		if v.Masked {
			add(v.Value)
		}
	}
	for _, v := range p.Variables {
		if v.Masked {
			add(v.Value)
		}
	}
	add(p.Job.Token)
	add(p.Runner.Token)
	for _, c := range p.Job.Credentials {
		add(c.Password)
	}
	for _, d := range p.Job.Dependencies {
		add(d.Token)
	}
	return secrets
}
