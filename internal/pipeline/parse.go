package pipeline

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"gitlab.com/skerry/skerry/internal/job"
)

// Parse reads a pipeline. File is its name, for messages. The error joins an *Error for everything
// that is wrong, in the order of the file.
func Parse(file string, data []byte) (*Pipeline, error) {
	r := &reader{file: file, budget: maxNodes}
	doc, err := document(file, data)
	if err != nil {
		return nil, err
	}
	f := &source{reader: r, defaults: map[string]entry{}, jobs: map[string]entry{}}
	f.top(r.mapping(doc.Content[0], ""))
	f.stages = slices.Concat([]string{".pre"}, f.stages, []string{".post"})
	var jobs []*Job
	for _, name := range f.order {
		if !strings.HasPrefix(name, ".") {
			jobs = append(jobs, f.job(name)...)
		}
	}
	if len(jobs) == 0 && len(r.errs) == 0 {
		r.errorf(0, "", "has no job that runs; write at least one")
	}
	f.link(jobs)
	if err := r.err(); err != nil {
		return nil, err
	}
	return &Pipeline{Stages: f.stages, Jobs: jobs}, nil
}

// source is a file on its way.
type source struct {
	*reader
	stages    []string
	variables job.Variables
	defaults  map[string]entry
	jobs      map[string]entry // hidden ones too
	order     []string
	needs     map[*Job][]need // as written
}

// top reads the top level.
func (f *source) top(entries []entry) {
	f.needs = map[*Job][]need{}
	f.stages = []string{"build", "test", "deploy"}
	for _, e := range entries {
		switch e.key {
		case "stages":
			f.readStages(e)
		case "variables":
			f.variables = f.readVariables(e.node, e.key, true)
		case "default":
			for _, d := range f.mapping(e.node, e.key) {
				if !slices.Contains(defaultKeys(), d.key) {
					f.unknown(d, e.key)
					continue
				}
				f.setDefault(d)
			}
		case "image", "services", "cache", "before_script", "after_script":
			f.setDefault(e) // GitLab's older way to write default
		case "include", "workflow", "spec":
			f.errorf(e.line, e.key, "is not supported by this runner's tools; write the jobs into this file")
		default:
			f.checkName(e)
			f.jobs[e.key] = e
			f.order = append(f.order, e.key)
		}
	}
}

// setDefault notes a default, which may be written once: below default or at the top level.
func (f *source) setDefault(e entry) {
	if old, twice := f.defaults[e.key]; twice {
		f.errorf(e.line, e.key, "has a default in line %d already; remove one", old.line)
		return
	}
	f.defaults[e.key] = e
}

// checkName reports names that no job can have. Source: Gitlab::Ci::Config::Entry::Jobs and ::Job.
func (f *source) checkName(e entry) {
	const longest = 255
	switch {
	case strings.TrimSpace(e.key) == "":
		f.errorf(e.line, e.key, "a job has no name; give it one")
	case e.key == "true" || e.key == "false" || e.key == "nil":
		f.errorf(e.line, e.key, "is no name for a job; GitLab reserves it")
	case utf8.RuneCountInString(e.key) > longest:
		f.errorf(e.line, e.key[:20]+"…", "is too long a name for a job; use at most %d characters", longest)
	}
}

// defaultKeys are the job keywords that default may hold.
func defaultKeys() []string {
	return []string{"image", "services", "before_script", "after_script", "tags", "artifacts", "cache", "retry", "timeout"}
}

func (f *source) readStages(e entry) {
	f.stages = nil
	for _, s := range f.strings(e.node, e.key) {
		switch {
		case s == ".pre" || s == ".post":
		case slices.Contains(f.stages, s):
			f.errorf(e.line, e.key, "%q stands here twice; remove one", s)
		default:
			f.stages = append(f.stages, s)
		}
	}
}

// readVariables reads variables; description and options belong to those of the whole file.
func (f *source) readVariables(n *yaml.Node, key string, top bool) job.Variables {
	if isNull(f.deref(n)) {
		return nil
	}
	var vars job.Variables
	for _, e := range f.mapping(n, key) {
		v := job.Variable{Key: e.key, Public: true}
		name := join(key, e.key)
		if !validVariable(e.key) {
			f.errorf(e.line, name, "is no name for a variable; use letters, digits and underscores")
		}
		if f.deref(e.node).Kind != yaml.MappingNode {
			v.Value = f.value(e.node, name)
			vars = append(vars, v)
			continue
		}
		for _, x := range f.mapping(e.node, name) {
			switch {
			case x.key == "value":
				v.Value = f.value(x.node, join(name, x.key))
			case x.key == "expand":
				v.Raw = !f.boolean(x.node, join(name, x.key))
			case top && x.key == "description":
				f.text(x.node, join(name, x.key))
			case top && x.key == "options":
				f.texts(x.node, join(name, x.key))
			default:
				f.unknown(x, name)
			}
		}
		vars = append(vars, v)
	}
	return vars
}

func validVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
