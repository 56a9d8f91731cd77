package pipeline

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// need is one of needs as it is written: job is the name of one job or of a group.
type need struct {
	job                 string
	line                int
	artifacts, optional bool
}

func (b *builder) readNeeds(n *yaml.Node, key string) {
	list := []need{}
	for _, one := range b.list(n, key) {
		x := need{line: b.deref(one).Line, artifacts: true}
		if b.deref(one).Kind != yaml.MappingNode {
			x.job = b.text(one, key)
			list = append(list, x)
			continue
		}
		for _, e := range b.mapping(one, key) {
			sub := join(key, e.key)
			switch e.key {
			case "job":
				x.job = b.text(e.node, sub)
			case "artifacts":
				x.artifacts = b.boolean(e.node, sub)
			case "optional":
				x.optional = b.boolean(e.node, sub)
			default:
				b.unknown(e, key)
			}
		}
		if x.job == "" {
			b.errorf(x.line, key, "names no job")
		}
		list = append(list, x)
	}
	b.needs[b.job] = list
}

// link resolves needs and dependencies to the jobs that there are.
func (f *source) link(jobs []*Job) {
	named := map[string][]*Job{}
	for _, j := range jobs {
		named[j.Group] = append(named[j.Group], j)
		if j.Name != j.Group {
			named[j.Name] = append(named[j.Name], j)
		}
	}
	for _, j := range jobs {
		if list, ok := f.needs[j]; ok {
			j.Needs = []Need{}
			for _, n := range list {
				f.linkNeed(j, n, named)
			}
		}
		f.linkDependencies(j, named)
	}
	f.circles(jobs)
}

func (f *source) linkNeed(j *Job, n need, named map[string][]*Job) {
	key := join(j.Group, "needs")
	found := false
	for _, other := range named[n.job] {
		found = true
		if f.stageOf(other) > f.stageOf(j) {
			f.errorf(n.line, key, "%q is in the later stage %s", n.job, other.Stage)
		}
		if !slices.ContainsFunc(j.Needs, func(x Need) bool { return x.Job == other.Name }) {
			j.Needs = append(j.Needs, Need{Job: other.Name, Artifacts: n.artifacts})
		}
	}
	if !found && !n.optional {
		f.errorf(n.line, key, "there is no job %q; name one, or say optional: true", n.job)
	}
}

func (f *source) linkDependencies(j *Job, named map[string][]*Job) {
	if j.Dependencies == nil {
		return
	}
	key := join(j.Group, "dependencies")
	names := []string{}
	for _, d := range j.Dependencies {
		if len(named[d]) == 0 {
			f.errorf(j.Line, key, "there is no job %q", d)
		}
		for _, other := range named[d] {
			switch {
			case j.Needs == nil && f.stageOf(other) >= f.stageOf(j):
				f.errorf(j.Line, key, "%q is not in an earlier stage", d)
			case j.Needs != nil && !slices.ContainsFunc(j.Needs, func(n Need) bool { return n.Job == other.Name }):
				f.errorf(j.Line, key, "%q is not among the job's needs", d)
			}
			names = append(names, other.Name)
		}
	}
	j.Dependencies = names
}

func (f *source) stageOf(j *Job) int { return slices.Index(f.stages, j.Stage) }

// circles reports needs that go in a circle.
func (f *source) circles(jobs []*Job) {
	const (
		open = 1
		done = 2
	)
	byName, state := map[string]*Job{}, map[*Job]int{}
	for _, j := range jobs {
		byName[j.Name] = j
	}
	var visit func(j *Job, path []string) bool
	visit = func(j *Job, path []string) bool {
		path = append(path, j.Name)
		if state[j] == open {
			f.errorf(j.Line, join(j.Group, "needs"), "goes in a circle: %s", strings.Join(path, " → "))
			return false
		}
		if state[j] == done {
			return true
		}
		state[j] = open
		for _, n := range j.Needs {
			if other := byName[n.Job]; other != nil && !visit(other, path) {
				return false
			}
		}
		state[j] = done
		return true
	}
	for _, j := range jobs {
		if !visit(j, nil) {
			return
		}
	}
}
