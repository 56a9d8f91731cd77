package job

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// Variable is one CI/CD variable.
type Variable struct {
	Key    string
	Value  string
	Public bool // may be shown and given to services
	File   bool // the job sees a path to a file that holds Value
	Masked bool // Value must not appear in the log
	Raw    bool // Value is not expanded
}

// Variables is an ordered list of variables; of several with one key the last one wins.
//
// No method changes its receiver: those that return Variables return a new list, so that the
// variables of a Job may be shared between goroutines.
type Variables []Variable

// FilePath says at which path a job sees the content of the File variable key. Where one is asked
// for, nil means that references to File variables become their content.
type FilePath func(key string) string

// Merge joins layers to one list; what a later layer sets wins over earlier ones. GitLab Runner's
// layers are: feature flags, the runner's own and predefined variables, the job's, and those that
// no job may change (common/build.go, GetAllVariables).
func Merge(layers ...Variables) Variables { return slices.Concat(layers...) }

// Lookup returns the variable key, the last of several, and whether there is one.
func (v Variables) Lookup(key string) (Variable, bool) {
	for _, one := range slices.Backward(v) {
		if one.Key == key {
			return one, true
		}
	}
	return Variable{}, false
}

// First returns the variable key, the first of several, and whether there is one: a predefined
// variable as the coordinator set it, whatever overrides it later.
func (v Variables) First(key string) (Variable, bool) {
	for _, one := range v {
		if one.Key == key {
			return one, true
		}
	}
	return Variable{}, false
}

// Value returns the value of key, for a File variable the content, "" when there is none.
func (v Variables) Value(key string) string {
	one, _ := v.Lookup(key)
	return one.Value
}

// Get returns what a job sees as the value of key: for a File variable the path that path gives.
func (v Variables) Get(key string, path FilePath) string {
	one, ok := v.Lookup(key)
	if ok && one.File && path != nil {
		return path(key)
	}
	return one.Value
}

// Bool reports whether key is set to true: "true" or "t" in any case, or a number that is 1.
// Everything else, absence too, is false (GitLab Runner's common/spec/variables.go, Bool).
func (v Variables) Bool(key string) bool {
	value := v.Value(key)
	if b, err := strconv.ParseBool(strings.ToLower(value)); err == nil {
		return b
	}
	n, err := strconv.ParseInt(value, 10, 32)
	return err == nil && n == 1
}

// Int returns key as a decimal number, or fallback when it is absent, empty or not a number.
func (v Variables) Int(key string, fallback int) int {
	n, err := strconv.Atoi(strings.TrimSpace(v.Value(key)))
	if err != nil {
		return fallback
	}
	return n
}

// Set returns v without any variable of the keys in more, followed by more (the last of several
// with one key).
func (v Variables) Set(more ...Variable) Variables {
	out := make(Variables, 0, len(v)+len(more))
	for _, one := range v {
		if _, replaced := Variables(more).Lookup(one.Key); !replaced {
			out = append(out, one)
		}
	}
	return append(out, Variables(more).Dedup()...)
}

// Dedup returns v with only the last variable of each key; those that stay keep their order.
func (v Variables) Dedup() Variables {
	last := make(map[string]int, len(v))
	for i, one := range v {
		last[one.Key] = i
	}
	out := make(Variables, 0, len(last))
	for i, one := range v {
		if last[one.Key] == i {
			out = append(out, one)
		}
	}
	return out
}

// Public returns the variables that may be shown and given to services.
func (v Variables) Public() Variables {
	var out Variables
	for _, one := range v {
		if one.Public {
			out = append(out, one)
		}
	}
	return out
}

// Masked returns the values that must not appear in the log, each once, without empty ones. Values
// that a later variable overrides are among them. Ask before and after Expand: both forms may be
// printed.
func (v Variables) Masked() []string {
	var out []string
	seen := make(map[string]bool)
	for _, one := range v {
		if one.Masked && one.Value != "" && !seen[one.Value] {
			seen[one.Value] = true
			out = append(out, one.Value)
		}
	}
	return out
}

// Expand returns v with the references in the values of all but Raw variables replaced, as
// ExpandString does, by the values that v has now: there is one pass, so that a reference to a
// variable which itself refers to others yields their names, not their values.
func (v Variables) Expand(path FilePath) Variables { return v.ExpandWith(v, path) }

// ExpandWith is Expand with references resolved in source instead of v (a service's own variables
// in those of its job).
func (v Variables) ExpandWith(source Variables, path FilePath) Variables {
	lookup := source.resolver(path)
	out := slices.Clone(v)
	for i := range out {
		if !out[i].Raw {
			out[i].Value = os.Expand(out[i].Value, lookup)
		}
	}
	return out
}

// ExpandString replaces $KEY and ${KEY} in s by values of v, with File variables' paths as path
// says; $$ becomes $, what is not set becomes empty, and so do the shell's own parameters ($1, $@,
// $? …). Source: GitLab Runner's common/spec/variables.go, ExpandValue.
func (v Variables) ExpandString(s string, path FilePath) string {
	if !strings.Contains(s, "$") {
		return s
	}
	return os.Expand(s, v.resolver(path))
}

// ExpandStrings is ExpandString for each of list; nil stays nil.
func (v Variables) ExpandStrings(list []string, path FilePath) []string {
	if list == nil {
		return nil
	}
	lookup := v.resolver(path)
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = os.Expand(s, lookup)
	}
	return out
}

// resolver returns the mapping for os.Expand; it indexes v once, since a job has hundreds of
// variables with hundreds of references.
func (v Variables) resolver(path FilePath) func(string) string {
	index := make(map[string]int, len(v))
	for i, one := range v {
		index[one.Key] = i
	}
	return func(key string) string {
		switch key {
		case "$":
			return "$"
		case "*", "#", "@", "!", "?", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9":
			return ""
		}
		i, ok := index[key]
		switch {
		case !ok:
			return ""
		case v[i].File && path != nil:
			return path(key)
		default:
			return v[i].Value
		}
	}
}
