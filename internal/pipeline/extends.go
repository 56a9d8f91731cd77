package pipeline

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxExtends is how many levels of extends GitLab follows.
const maxExtends = 11

// resolve returns the entries of the job called name with everything that it extends merged in:
// mappings are merged deeply, everything else is replaced.
func (f *source) resolve(name string, seen []string) []entry {
	if f.budget < 0 {
		return nil
	}
	e := f.jobs[name]
	own := f.mapping(e.node, name)
	i := slices.IndexFunc(own, func(x entry) bool { return x.key == "extends" })
	if i < 0 {
		return own
	}
	ext := own[i]
	own = slices.Delete(slices.Clone(own), i, i+1)
	seen = append(seen, name)
	var base []entry
	for _, parent := range f.texts(ext.node, join(name, "extends")) {
		switch {
		case slices.Contains(seen, parent):
			f.errorf(ext.line, join(name, "extends"), "goes in a circle: %s", strings.Join(append(seen, parent), " → "))
		case len(seen) >= maxExtends:
			f.errorf(ext.line, join(name, "extends"), "is more than %d levels deep", maxExtends-1)
		case f.jobs[parent].node == nil:
			f.errorf(ext.line, join(name, "extends"), "there is no job %q", parent)
		default:
			base = f.overlay(base, f.resolve(parent, slices.Clone(seen)), 0)
		}
	}
	return f.overlay(base, own, 0)
}

// overlay returns base with the entries of over put on top.
func (f *source) overlay(base, over []entry, depth int) []entry {
	const deepest = 50
	out := slices.Clone(base)
	for _, e := range over {
		i := slices.IndexFunc(out, func(b entry) bool { return b.key == e.key })
		if i < 0 {
			out = append(out, e)
			continue
		}
		b, o := f.deref(out[i].node), f.deref(e.node)
		if b.Kind == yaml.MappingNode && o.Kind == yaml.MappingNode && depth < deepest {
			e.node = f.mappingOf(f.overlay(f.entries(b, e.key, 0), f.entries(o, e.key, 0), depth+1), o)
		}
		out[i] = e
	}
	return out
}

// mappingOf makes a node of entries that stands where like stands.
func (f *source) mappingOf(entries []entry, like *yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: like.Line, Column: like.Column}
	for _, e := range entries {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: e.key, Line: e.line}, e.node)
	}
	return n
}
