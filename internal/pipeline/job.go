package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"gitlab.com/skerry/skerry/internal/job"
)

// job reads the job called name; parallel makes several of one.
func (f *source) job(name string) []*Job {
	e := f.jobs[name]
	if f.deref(e.node).Kind != yaml.MappingNode {
		f.errorf(e.line, name, "is not supported: neither a keyword that is known here nor a job")
		return nil
	}
	entries := f.resolve(name, nil)
	for _, key := range defaultKeys() {
		if d, ok := f.defaults[key]; ok && !slices.ContainsFunc(entries, func(x entry) bool { return x.key == key }) {
			entries = append(entries, d)
		}
	}
	j := &Job{Name: name, Group: name, Line: e.line, Stage: "test", When: OnSuccess}
	b := &builder{source: f, job: j, name: name}
	for _, x := range entries {
		b.keyword(x)
	}
	if !b.scripted {
		f.errorf(e.line, name, "has no script; every job needs one")
	}
	if j.Stage != "" && !slices.Contains(f.stages, j.Stage) {
		f.errorf(e.line, join(name, "stage"), "there is no stage %q; the stages are %s", j.Stage, strings.Join(f.stages, ", "))
	}
	if (j.When == Delayed) != (j.StartIn > 0) {
		f.errorf(e.line, name, "when: delayed and start_in belong together; write both or neither")
	}
	j.Script = append(b.before, j.Script...)
	j.Variables = slices.Concat(f.variables, j.Variables)
	if j.When == Manual && !b.allowSaid {
		j.AllowFailure = true
	}
	return b.parallel()
}

// builder makes one job of its keywords.
type builder struct {
	*source
	job       *Job
	name      string
	before    []string
	scripted  bool
	allowSaid bool
	count     int
	matrix    []job.Variables
}

func (b *builder) keyword(e entry) {
	j, key := b.job, join(b.name, e.key)
	switch e.key {
	case "stage":
		j.Stage = b.text(e.node, key)
	case "script":
		before := len(b.errs)
		j.Script, b.scripted = b.texts(e.node, key), true
		if len(j.Script) == 0 && len(b.errs) == before {
			b.errorf(e.line, key, "is empty; write at least one line")
		}
	case "before_script":
		b.before = b.texts(e.node, key)
	case "after_script":
		j.AfterScript = b.texts(e.node, key)
	case "variables":
		j.Variables = b.readVariables(e.node, key, false)
	case "tags":
		j.Tags = b.strings(e.node, key)
	case "image":
		image := b.image(e.node, key, false)
		j.Image = &image
	case "services":
		b.services(e.node, key)
	case "when":
		j.When = b.readWhen(e.node, key)
	case "timeout":
		j.Timeout = b.duration(e.node, key)
	case "start_in":
		j.StartIn = b.startIn(e.node, key)
	default:
		b.keyword2(e, key)
	}
}

// keyword2 goes on with the keywords that have an inner structure of their own.
func (b *builder) keyword2(e entry, key string) {
	j := b.job
	switch e.key {
	case "needs":
		b.readNeeds(e.node, key)
	case "dependencies":
		j.Dependencies = b.strings(e.node, key)
	case "artifacts":
		b.artifacts(e.node, key)
	case "cache":
		b.caches(e.node, key)
	case "allow_failure":
		b.allowFailure(e.node, key)
	case "retry":
		b.retry(e.node, key)
	case "parallel":
		b.readParallel(e.node, key)
	default:
		b.unknown(e, b.name)
	}
}

func (b *builder) duration(n *yaml.Node, key string) time.Duration {
	d, err := ParseDuration(b.scalar(n, key))
	if err != nil {
		b.errorf(b.deref(n).Line, key, "%v", err)
	} else if d <= 0 {
		b.errorf(b.deref(n).Line, key, "is no time at all; write for example 1h 30m")
	}
	return d
}

// startIn reads how long a delayed job is held back.
func (b *builder) startIn(n *yaml.Node, key string) time.Duration {
	d := b.duration(n, key)
	if d > week {
		b.errorf(b.deref(n).Line, key, "should be a week at most")
	}
	return max(d, time.Nanosecond) // what is wrong with it has been said
}

// readWhen reads a job's when. GitLab knows never too, but only in rules.
func (b *builder) readWhen(n *yaml.Node, key string) When {
	if n := b.deref(n); n.Kind == yaml.ScalarNode && n.Value == "never" {
		b.errorf(n.Line, key, "is \"never\", which stands only in rules; remove the job, or begin its name with a dot")
		return OnSuccess
	}
	return When(b.oneOf(n, key, string(OnSuccess), string(OnFailure), string(Always), string(Manual), string(Delayed)))
}

func (b *builder) image(n *yaml.Node, key string, service bool) job.Image {
	if b.deref(n).Kind != yaml.MappingNode {
		return job.Image{Name: b.text(n, key)}
	}
	var i job.Image
	for _, e := range b.mapping(n, key) {
		sub := join(key, e.key)
		switch {
		case e.key == "name":
			i.Name = b.text(e.node, sub)
		case e.key == "entrypoint":
			i.Entrypoint = b.texts(e.node, sub)
		case e.key == "docker":
			b.dockerOptions(&i, e.node, sub)
		case e.key == "pull_policy":
			for _, p := range b.texts(e.node, sub) {
				if !slices.Contains([]string{"always", "if-not-present", "never"}, p) {
					b.errorf(e.line, sub, "is %q, but should be always, if-not-present or never", p)
				}
				i.PullPolicies = append(i.PullPolicies, p)
			}
		case service && e.key == "alias":
			i.Alias = b.text(e.node, sub)
		case service && e.key == "command":
			i.Command = b.texts(e.node, sub)
		case service && e.key == "variables":
			i.Variables = b.readVariables(e.node, sub, false)
		default:
			b.unknown(e, key)
		}
	}
	if i.Name == "" {
		b.errorf(b.deref(n).Line, key, "has no name")
	}
	return i
}

// dockerOptions reads image:docker.
func (b *builder) dockerOptions(i *job.Image, n *yaml.Node, key string) {
	for _, e := range b.mapping(n, key) {
		switch e.key {
		case "platform":
			i.Platform = b.text(e.node, join(key, e.key))
		case "user":
			i.User = b.text(e.node, join(key, e.key))
		default:
			b.unknown(e, key)
		}
	}
}

func (b *builder) services(n *yaml.Node, key string) {
	b.job.Services = nil
	for _, one := range b.list(n, key) {
		if !b.spend(one) {
			return
		}
		b.job.Services = append(b.job.Services, b.image(one, key, true))
	}
}

const maxExit = 255

func (b *builder) allowFailure(n *yaml.Node, key string) {
	b.allowSaid = true
	if b.deref(n).Kind != yaml.MappingNode {
		b.job.AllowFailure = b.boolean(n, key)
		return
	}
	for _, e := range b.mapping(n, key) {
		if e.key != "exit_codes" {
			b.unknown(e, key)
			continue
		}
		b.job.AllowExitCodes = b.integers(e.node, join(key, e.key), 0, maxExit)
	}
}

func (b *builder) retry(n *yaml.Node, key string) {
	const most = 2
	b.job.Retry = Retry{}
	if b.deref(n).Kind != yaml.MappingNode {
		b.job.Retry.Max = b.integer(n, key, 0, most)
		return
	}
	for _, e := range b.mapping(n, key) {
		sub := join(key, e.key)
		switch e.key {
		case "max":
			b.job.Retry.Max = b.integer(e.node, sub, 0, most)
		case "when":
			b.job.Retry.When = b.texts(e.node, sub)
			for _, w := range b.job.Retry.When {
				if !slices.Contains(retryReasons(), w) {
					b.errorf(e.line, sub, "is %q, but should be one of %s", w, strings.Join(retryReasons(), ", "))
				}
			}
		case "exit_codes":
			b.job.Retry.ExitCodes = b.integers(e.node, sub, 0, maxExit)
		default:
			b.unknown(e, key)
		}
	}
}

// retryReasons are the values of retry:when. Source: Gitlab::Ci::Build::Retry.
func retryReasons() []string {
	return []string{
		"always", "unknown_failure", "script_failure", "api_failure", "stuck_or_timeout_failure", "runner_system_failure",
		"runner_unsupported", "stale_schedule", "job_execution_timeout", "archived_failure", "unmet_prerequisites",
		"scheduler_failure", "data_integrity_failure",
	}
}

// Applies says whether a job that failed so, after so many retries, is tried again.
func (r Retry) Applies(reason string, exit, tried int) bool {
	if tried >= r.Max {
		return false
	}
	if len(r.When) == 0 && len(r.ExitCodes) == 0 {
		return true
	}
	return slices.Contains(r.When, "always") || slices.Contains(r.When, reason) || slices.Contains(r.ExitCodes, exit)
}

// parallel makes the jobs that parallel asks for, or the one job.
func (b *builder) parallel() []*Job {
	if b.count == 0 && b.matrix == nil {
		return []*Job{b.job}
	}
	total := max(b.count, len(b.matrix))
	var all []*Job
	for i := range total {
		one := *b.job
		one.Index, one.Total = i+1, total
		if b.matrix == nil {
			one.Name = fmt.Sprintf("%s %d/%d", b.name, i+1, total)
		} else {
			values := make([]string, len(b.matrix[i]))
			for k, v := range b.matrix[i] {
				values[k] = v.Value
			}
			one.Name = fmt.Sprintf("%s: [%s]", b.name, strings.Join(values, ", "))
			one.Variables = slices.Concat(b.job.Variables, b.matrix[i])
		}
		if n, ok := b.needs[b.job]; ok {
			b.needs[&one] = n
		}
		all = append(all, &one)
	}
	return all
}
