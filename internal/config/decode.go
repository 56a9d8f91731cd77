package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// decoder fills structs from a decoded document and collects what is wrong with it.
type decoder struct {
	file     string
	doc      *document
	errors   Problems
	warnings Problems
}

func (d *decoder) problem(path, format string, args ...any) Problem {
	return Problem{File: d.file, Line: d.doc.line(path), Key: path, Message: fmt.Sprintf(format, args...)}
}

func (d *decoder) fail(path, format string, args ...any) {
	d.errors = append(d.errors, d.problem(path, format, args...))
}

func (d *decoder) warn(path, format string, args ...any) {
	d.warnings = append(d.warnings, d.problem(path, format, args...))
}

// table fills the struct out from in.
func (d *decoder) table(path string, in map[string]any, out reflect.Value) {
	fields := fieldsOf(out.Type())
	for _, key := range sortedKeys(in) {
		at := join(path, key)
		f, ok := fields.find(key, in)
		if !ok {
			d.unknown(at, key, out.Type())
			continue
		}
		if f.state == stateTodo {
			d.warn(at, "is a key that Skerry does not implement yet: it has no effect")
		}
		d.value(at, in[key], out.FieldByIndex(f.index))
	}
}

// value fills out from in.
func (d *decoder) value(path string, in any, out reflect.Value) {
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
		d.fail(path, "must be a table, is %s", describe(in))
	case reflect.Map:
		d.mapping(path, in, out)
	case reflect.Slice:
		d.list(path, in, out)
	default:
		d.fail(path, "must be %s, is %s", wanted(out.Type()), describe(in))
	}
}

// scalar fills values that TOML knows itself; it reports false when in and out do not fit.
func (d *decoder) scalar(path string, in any, out reflect.Value) bool {
	switch out.Interface().(type) {
	case time.Duration:
		return d.duration(path, in, out)
	case time.Time:
		switch v := in.(type) {
		case time.Time:
			out.Set(reflect.ValueOf(v))
			return true
		case toml.LocalDateTime:
			out.Set(reflect.ValueOf(v.AsTime(time.Local)))
			return true
		}
		d.fail(path, "must be a date with time such as 2026-01-02T15:04:05Z, is %s", describe(in))
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
				d.fail(path, "%d is too large", v)
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

// duration reads "15m" or a number of nanoseconds, as GitLab Runner does.
func (d *decoder) duration(path string, in any, out reflect.Value) bool {
	switch v := in.(type) {
	case string:
		parsed, err := time.ParseDuration(v)
		if err != nil {
			d.fail(path, "must be a duration such as \"90s\" or \"1h30m\", is %q", v)
		}
		out.SetInt(int64(parsed))
	case int64:
		out.SetInt(v)
	default:
		d.fail(path, "must be a duration such as \"90s\" or \"1h30m\", is %s", describe(in))
	}
	return true
}

func (d *decoder) mapping(path string, in any, out reflect.Value) {
	m, ok := in.(map[string]any)
	if !ok {
		d.fail(path, "must be a table, is %s", describe(in))
		return
	}
	result := reflect.MakeMapWithSize(out.Type(), len(m))
	for _, key := range sortedKeys(m) {
		v := reflect.New(out.Type().Elem()).Elem()
		d.value(join(path, key), m[key], v)
		result.SetMapIndex(reflect.ValueOf(key), v)
	}
	out.Set(result)
}

func (d *decoder) list(path string, in any, out reflect.Value) {
	items, ok := in.([]any)
	if s, isString := in.(string); isString && out.Type() == reflect.TypeFor[StringList]() {
		items, ok = []any{s}, true
	}
	if !ok {
		d.fail(path, "must be %s, is %s", wanted(out.Type()), describe(in))
		return
	}
	result := reflect.MakeSlice(out.Type(), len(items), len(items))
	for i, v := range items {
		d.value(element(path, i), v, result.Index(i))
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
