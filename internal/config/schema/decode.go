package schema

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Decoder fills structs from a decoded document and collects what is wrong with it.
type Decoder struct {
	File     string // for messages
	Doc      *Document
	Errors   Problems
	Warnings Problems
}

// Decode fills the struct that out points to.
func (d *Decoder) Decode(in map[string]any, out any) {
	d.table("", in, reflect.ValueOf(out).Elem())
}

// Problem makes a Problem of the key at path.
func (d *Decoder) Problem(path, format string, args ...any) Problem {
	return Problem{File: d.File, Line: d.Doc.Line(path), Key: path, Message: fmt.Sprintf(format, args...)}
}

// Fail notes an error.
func (d *Decoder) Fail(path, format string, args ...any) {
	d.Errors = append(d.Errors, d.Problem(path, format, args...))
}

// Warn notes a warning.
func (d *Decoder) Warn(path, format string, args ...any) {
	d.Warnings = append(d.Warnings, d.Problem(path, format, args...))
}

// table fills the struct out from in.
func (d *Decoder) table(path string, in map[string]any, out reflect.Value) {
	fields := fieldsOf(out.Type())
	for _, key := range sortedKeys(in) {
		at := Join(path, key)
		f, ok := fields.find(key, in)
		if !ok {
			d.unknown(at, key, out.Type())
			continue
		}
		if f.state == stateTodo {
			d.Warn(at, "is a key that Skerry does not implement yet: it has no effect")
		}
		d.value(at, in[key], out.FieldByIndex(f.index))
	}
}

// value fills out from in.
func (d *Decoder) value(path string, in any, out reflect.Value) {
	if d.scalar(path, in, out) {
		return
	}
	switch out.Kind() {
	case reflect.Interface:
		out.Set(reflect.ValueOf(in))
	case reflect.Pointer:
		p := reflect.New(out.Type().Elem())
		d.value(path, in, p.Elem())
		out.Set(p)
	case reflect.Struct:
		if m, ok := in.(map[string]any); ok {
			d.table(path, m, out)
			return
		}
		d.Fail(path, "must be a table, is %s", describe(in))
	case reflect.Map:
		d.mapping(path, in, out)
	case reflect.Slice:
		d.list(path, in, out)
	default:
		d.Fail(path, "must be %s, is %s", wanted(out.Type()), describe(in))
	}
}

// scalar fills values that TOML knows itself; it reports false when in and out do not fit.
func (d *Decoder) scalar(path string, in any, out reflect.Value) bool {
	switch out.Interface().(type) {
	case time.Duration:
		return d.duration(path, in, out)
	case time.Time:
		d.date(path, in, out)
		return true
	}
	switch v := in.(type) {
	case string:
		if out.Kind() == reflect.String {
			out.SetString(v)
			return true
		}
	case bool:
		if out.Kind() == reflect.Bool {
			out.SetBool(v)
			return true
		}
	case int64:
		if out.CanInt() {
			if out.OverflowInt(v) {
				d.Fail(path, "%d is too large", v)
			} else {
				out.SetInt(v)
			}
			return true
		}
		if out.CanFloat() {
			out.SetFloat(float64(v))
			return true
		}
	case float64:
		if out.CanFloat() {
			out.SetFloat(v)
			return true
		}
	}
	return false
}

// date reads a date with time, also one written as a string: programs that take a file through JSON leave
// strings (NixOS's services.gitlab-runner does), and GitLab Runner reads them.
func (d *Decoder) date(path string, in any, out reflect.Value) {
	switch v := in.(type) {
	case time.Time:
		out.Set(reflect.ValueOf(v))
		return
	case toml.LocalDateTime:
		out.Set(reflect.ValueOf(v.AsTime(time.Local)))
		return
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			out.Set(reflect.ValueOf(at))
			return
		}
	}
	d.Fail(path, "must be a date with time such as 2026-01-02T15:04:05Z, is %s", describe(in))
}

// duration reads "15m" or a number of nanoseconds, as GitLab Runner does.
func (d *Decoder) duration(path string, in any, out reflect.Value) bool {
	switch v := in.(type) {
	case string:
		parsed, err := time.ParseDuration(v)
		if err != nil {
			d.Fail(path, "must be a duration such as \"90s\" or \"1h30m\", is %q", v)
		}
		out.SetInt(int64(parsed))
	case int64:
		out.SetInt(v)
	default:
		d.Fail(path, "must be a duration such as \"90s\" or \"1h30m\", is %s", describe(in))
	}
	return true
}

func (d *Decoder) mapping(path string, in any, out reflect.Value) {
	m, ok := in.(map[string]any)
	if !ok {
		d.Fail(path, "must be a table, is %s", describe(in))
		return
	}
	result := reflect.MakeMapWithSize(out.Type(), len(m))
	for _, key := range sortedKeys(m) {
		v := reflect.New(out.Type().Elem()).Elem()
		d.value(Join(path, key), m[key], v)
		result.SetMapIndex(reflect.ValueOf(key), v)
	}
	out.Set(result)
}

func (d *Decoder) list(path string, in any, out reflect.Value) {
	items, ok := in.([]any)
	if s, isString := in.(string); isString && out.Type() == reflect.TypeFor[StringList]() {
		items, ok = []any{s}, true
	}
	if !ok {
		d.Fail(path, "must be %s, is %s", wanted(out.Type()), describe(in))
		return
	}
	result := reflect.MakeSlice(out.Type(), len(items), len(items))
	for i, v := range items {
		d.value(Element(path, i), v, result.Index(i))
	}
	out.Set(result)
}

// wanted and describe name types in the words of the file's author.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		if t == reflect.TypeFor[StringList]() {
			return "a string or a list of strings"
		}
		if e := t.Elem(); e.Kind() == reflect.Struct || e.Kind() == reflect.Pointer {
			return "a list of tables"
		}
		return "a list"
	default:
		return "a whole number"
	}
}

func describe(in any) string {
	switch v := in.(type) {
	case string:
		const enough = 40
		if len(v) > enough {
			return "a string"
		}
		return fmt.Sprintf("the string %q", v)
	case bool, int64, float64:
		return fmt.Sprint(v)
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	default:
		return strings.ToLower(fmt.Sprintf("the date or time %v", v))
	}
}
