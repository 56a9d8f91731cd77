package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxNodes limits how many nodes are looked at, aliases expanded: files of a few bytes can mean
// billions of them.
const maxNodes = 200_000

// maxNesting is how deep lists of script lines may be nested.
const maxNesting = 10

// reader reads nodes and collects what is wrong with them.
type reader struct {
	file   string
	errs   []error
	budget int
}

// entry is one key of a mapping.
type entry struct {
	key  string
	line int
	node *yaml.Node
}

func (r *reader) errorf(line int, key, format string, args ...any) {
	const most = 50
	if len(r.errs) < most {
		r.errs = append(r.errs, &Error{File: r.file, Line: line, Key: key, Message: fmt.Sprintf(format, args...)})
	}
}

// spend counts a node against the budget, and says whether there is any left.
func (r *reader) spend(n *yaml.Node) bool {
	if r.budget == 0 {
		r.errorf(n.Line, "", "the file's aliases expand to more than %d nodes; use fewer", maxNodes)
	}
	r.budget--
	return r.budget >= 0
}

// deref follows aliases.
func (r *reader) deref(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kind names a node for messages.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		if isBoolean(n) {
			return "a boolean"
		}
		return "a string"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!null":
		return "nothing"
	}
	return "a value tagged " + n.ShortTag()
}

// mapping returns the entries of a mapping in order, merge keys resolved.
func (r *reader) mapping(n *yaml.Node, key string) []entry {
	n = r.deref(n)
	if n.Kind != yaml.MappingNode {
		r.errorf(n.Line, key, "is %s, but should be a mapping", kind(n))
		return nil
	}
	return r.entries(n, key, 0)
}

func (r *reader) entries(n *yaml.Node, key string, depth int) []entry {
	var own, merged []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := r.deref(n.Content[i]), n.Content[i+1]
		if !r.spend(k) {
			return nil
		}
		switch {
		case k.Kind != yaml.ScalarNode:
			r.errorf(k.Line, key, "has %s as a key, but keys should be strings", kind(k))
		case k.ShortTag() == "!!merge":
			merged = append(merged, r.merge(v, key, depth)...)
		case slices.ContainsFunc(own, func(e entry) bool { return e.key == k.Value }):
			r.errorf(k.Line, join(key, k.Value), "stands here twice; remove one")
		default:
			own = append(own, entry{key: k.Value, line: k.Line, node: v})
		}
	}
	for _, m := range merged {
		if !slices.ContainsFunc(own, func(e entry) bool { return e.key == m.key }) {
			own = append(own, m)
		}
	}
	return own
}

// merge returns the entries that a merge key brings: of one mapping, or of a list where earlier ones win.
func (r *reader) merge(n *yaml.Node, key string, depth int) []entry {
	const deepest = 50
	line := n.Line
	n = r.deref(n)
	if depth > deepest {
		r.errorf(line, key, "merge keys are nested more than %d deep", deepest)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.entries(n, key, depth+1)
	case yaml.SequenceNode:
		var all []entry
		for _, one := range n.Content {
			for _, e := range r.merge(one, key, depth+1) {
				if !slices.ContainsFunc(all, func(x entry) bool { return x.key == e.key }) {
					all = append(all, e)
				}
			}
		}
		return all
	}
	r.errorf(line, key, "<< is %s, but should be a mapping or a list of mappings", kind(n))
	return nil
}

func join(key, sub string) string {
	if key == "" {
		return sub
	}
	return key + ":" + sub
}

// text returns a string.
func (r *reader) text(n *yaml.Node, key string) string {
	n = r.deref(n)
	if !r.spend(n) {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		r.wrong(n, key, "a string")
		return ""
	}
	r.printable(n, key)
	return n.Value
}

// wrong reports a value of the wrong kind, with a hint where the reason is known.
func (r *reader) wrong(n *yaml.Node, key, want string) {
	hint := ""
	switch {
	case n.Tag == "!reference":
		r.errorf(n.Line, key, "!reference is not supported; use an anchor or extends")
		return
	case n.Kind == yaml.MappingNode && want == "a string or a list of strings":
		hint = "; quote the line when it holds a colon and a space"
	case want == "a list" || want == "a list of strings":
		hint = "; write each in a line of its own, after a hyphen"
	case n.Kind == yaml.ScalarNode && want != "a boolean":
		hint = "; quote it"
	}
	r.errorf(n.Line, key, "is %s, but should be %s%s", kind(n), want, hint)
}

// scalar returns a string, a number or a boolean as it is written.
func (r *reader) scalar(n *yaml.Node, key string) string {
	n = r.deref(n)
	if !r.spend(n) {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!reference" {
		r.wrong(n, key, "a string or a number")
		return ""
	}
	if isNull(n) {
		return ""
	}
	r.printable(n, key)
	return number(n)
}

// texts returns a string or a list of strings, lists in it flattened.
func (r *reader) texts(n *yaml.Node, key string) []string {
	list := []string{}
	r.flatten(n, key, 0, &list)
	return list
}

func (r *reader) flatten(n *yaml.Node, key string, depth int, list *[]string) {
	n = r.deref(n)
	if !r.spend(n) {
		return
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str":
		r.printable(n, key)
		*list = append(*list, n.Value)
	case n.Kind == yaml.SequenceNode && n.Tag != "!reference" && depth < maxNesting:
		for _, one := range n.Content {
			r.flatten(one, key, depth+1, list)
		}
	case n.Kind == yaml.SequenceNode && depth >= maxNesting:
		r.errorf(n.Line, key, "lists are nested more than %d deep", maxNesting)
	default:
		r.wrong(n, key, "a string or a list of strings")
	}
}

// list returns the nodes of a list.
func (r *reader) list(n *yaml.Node, key string) []*yaml.Node {
	n = r.deref(n)
	if n.Kind != yaml.SequenceNode || n.Tag == "!reference" {
		r.wrong(n, key, "a list")
		return nil
	}
	return n.Content
}

func (r *reader) boolean(n *yaml.Node, key string) bool {
	n = r.deref(n)
	if isBoolean(n) {
		return strings.EqualFold(n.Value, "true") || strings.EqualFold(n.Value, "yes") || strings.EqualFold(n.Value, "on")
	}
	r.wrong(n, key, "a boolean")
	return false
}

func (r *reader) integer(n *yaml.Node, key string, least, most int) int {
	n = r.deref(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		r.errorf(n.Line, key, "is %s, but should be a number", kind(n))
		return least
	}
	i, err := strconv.Atoi(n.Value)
	if err != nil || i < least || i > most {
		r.errorf(n.Line, key, "is %s, but should be from %d to %d", n.Value, least, most)
		return least
	}
	return i
}

// integers returns a number or a list of numbers.
func (r *reader) integers(n *yaml.Node, key string, least, most int) []int {
	n = r.deref(n)
	if n.Kind != yaml.SequenceNode {
		return []int{r.integer(n, key, least, most)}
	}
	var list []int
	for _, one := range n.Content {
		if !r.spend(n) {
			return nil
		}
		list = append(list, r.integer(one, key, least, most))
	}
	return list
}

// oneOf returns a string that is one of these.
func (r *reader) oneOf(n *yaml.Node, key string, values ...string) string {
	s := r.text(n, key)
	if s != "" && !slices.Contains(values, s) {
		r.errorf(r.deref(n).Line, key, "is %q, but should be one of %s", s, strings.Join(values, ", "))
		return values[0]
	}
	return s
}

func (r *reader) unknown(e entry, key string) {
	r.errorf(e.line, join(key, e.key), "is not supported here; remove it")
}

func (r *reader) err() error { return errors.Join(r.errs...) }
