package jobpayload

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab/lenient"
)

// interpolate replaces ${{ job.inputs.NAME }} in those fields of p where GitLab allows it. With no
// inputs, text that looks like a reference is left as it is: it may be the shell's or a template's.
// Sources: GitLab Runner's common/spec/inputs.go and the fields it marks in spec.go.
func (t *translation) interpolate(p *Payload) {
	if len(p.Inputs) == 0 {
		return
	}
	values, err := inputValues(p.Inputs)
	if err != nil {
		t.unsupported("inputs: %v", err)
		return
	}
	if len(values) == 0 {
		return
	}
	in := interpolation{t: t, values: values, reference: regexp.MustCompile(
		`^\s*job\.inputs(?:\.([A-Za-z_][A-Za-z0-9_-]*)|\[\s*"([^"\\]+)"\s*\]|\[\s*'([^'\\]+)'\s*\])\s*$`)}
	for i := range p.Steps {
		if name := p.Steps[i].Name; name == "script" || name == "after_script" {
			in.list(p.Steps[i].Script)
		}
	}
	if p.Image != nil {
		in.image(p.Image)
	}
	for i := range p.Services {
		in.image(&p.Services[i])
	}
	for i := range p.Artifacts {
		a := &p.Artifacts[i]
		in.texts(&a.Name, &a.When, &a.ExpireIn)
		in.list(a.Paths)
		in.list(a.Exclude)
	}
	for i := range p.Cache {
		c := &p.Cache[i]
		in.texts(&c.Key, &c.Policy, &c.When)
		in.list(c.Paths)
		in.list(c.FallbackKeys)
	}
}

// inputValue is an input as it appears in text, or why it cannot.
type inputValue struct {
	text string
	err  error
}

func inputValues(raw json.RawMessage) (map[string]inputValue, error) {
	var list []Input
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("the job's payload holds no list of inputs")
	}
	values := make(map[string]inputValue, len(list))
	for _, in := range list {
		if in.Key == "" {
			return nil, errors.New("an input in the job's payload has no name")
		}
		values[in.Key] = textOf(in)
	}
	return values, nil
}

func textOf(in Input) inputValue {
	switch kind := lenient.KindOf(in.Value.Content); {
	case in.Value.Sensitive:
		return inputValue{err: fmt.Errorf("%q is sensitive, and such inputs cannot be put into text", in.Key)}
	case kind == "a string", kind == "a number", kind == "a boolean":
		return inputValue{text: lenient.Unquoted(in.Value.Content)}
	case kind == "null", kind == "nothing":
		return inputValue{err: fmt.Errorf("%q has no value", in.Key)}
	default:
		return inputValue{err: fmt.Errorf("%q is %s, and this runner only puts strings, numbers and booleans into text", in.Key, kind)}
	}
}

type interpolation struct {
	t         *translation
	values    map[string]inputValue
	reference *regexp.Regexp
}

func (in *interpolation) image(i *Image) {
	in.texts(&i.Name)
	in.list(i.Entrypoint)
	in.list(i.Command)
	in.list(i.PullPolicy)
	if opts := string(i.ExecutorOpts); strings.Contains(opts, "${{") {
		in.t.unsupported("executor_opts: this runner does not put inputs there")
	}
}

func (in *interpolation) texts(fields ...*string) {
	for _, f := range fields {
		*f = in.expand(*f)
	}
}

func (in *interpolation) list(list []string) {
	for i := range list {
		list[i] = in.expand(list[i])
	}
}

// expand replaces every ${{ … }} in s. An expression that is more than the name of an input makes
// the job unsupported.
func (in *interpolation) expand(s string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${{")
		expr, after, closed := strings.Cut(rest, "}}")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		if !closed {
			in.t.unsupported("inputs: an expression is not closed: ${{%.60s", rest)
			return out.String()
		}
		out.WriteString(in.value(expr))
		s = after
	}
}

func (in *interpolation) value(expr string) string {
	m := in.reference.FindStringSubmatch(expr)
	if m == nil {
		in.t.unsupported("inputs: this runner understands ${{ job.inputs.NAME }}, not ${{%.60s}}", expr)
		return ""
	}
	name := m[1] + m[2] + m[3]
	value, ok := in.values[name]
	switch {
	case !ok:
		in.t.unsupported("inputs: the job has no input %q", name)
	case value.err != nil:
		in.t.unsupported("inputs: %v", value.err)
	}
	return value.text
}
