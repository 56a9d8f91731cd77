package schema

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Setting is one key as a flag and an environment variable set it. It is a pflag.Value.
type Setting struct {
	Key   string // below the struct: "docker.image"
	Flag  string // without dashes: "docker-image"
	Short string // a second name of the flag, one letter or a word; may be empty
	Env   string // environment variable; may be empty
	Help  string

	typ    reflect.Type
	target reflect.Value // the struct
	path   [][]int       // of the fields, from the struct on
	given  bool
}

// FlagUnmarshaler is a type of value that reads a flag's text itself.
type FlagUnmarshaler interface {
	UnmarshalFlag(text string) error
}

// Settings lists all keys of the struct that v points to that have a flag, in the order of the
// fields. Setting one changes the struct and makes the sections that lead to it.
func Settings(v any) []*Setting {
	target := reflect.ValueOf(v).Elem()
	return settings(target, target.Type(), nil, nil, nil)
}

func settings(target reflect.Value, t reflect.Type, keys, prefix []string, path [][]int) []*Setting {
	var out []*Setting
	for _, f := range fieldsOf(t) {
		at := append(path[:len(path):len(path)], f.index)
		names := append(keys[:len(keys):len(keys)], f.key)
		if ns := f.tag.Get("ns"); ns != "" {
			out = append(out, settings(target, section(f.typ), names, append(prefix[:len(prefix):len(prefix)], ns), at)...)
			continue
		}
		flag := f.tag.Get("flag")
		if flag == "" {
			continue
		}
		s := &Setting{
			Key: strings.Join(names, "."), Flag: dashed(prefix, flag), Short: f.tag.Get("short"),
			Env: f.tag.Get("env"), Help: f.tag.Get("help"), typ: f.typ, target: target, path: at,
		}
		if rest, ok := strings.CutPrefix(s.Env, "@"); ok {
			s.Env = strings.ToUpper(strings.ReplaceAll(strings.Join(append(prefix[:len(prefix):len(prefix)], rest), "_"), "-", "_"))
		}
		if s.Help == "" {
			s.Help = s.Key + " of the runner"
		}
		if f.state != "" {
			s.Help += " (kept in the file, has no effect yet)"
		}
		out = append(out, s)
	}
	return out
}

func dashed(prefix []string, name string) string {
	return strings.Join(append(prefix[:len(prefix):len(prefix)], name), "-")
}

// IsBool reports whether the flag needs no value. Settings that may be unset need one, as in
// GitLab Runner: --docker-services_privileged true.
func (s *Setting) IsBool() bool { return s.typ.Kind() == reflect.Bool }

// Type names the value in help texts.
func (s *Setting) Type() string {
	t := s.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Bool && !s.IsBool():
		return "true|false"
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Map:
		return "key:value"
	case t.Kind() == reflect.Float64:
		return "number"
	default:
		return strings.TrimSuffix(t.Kind().String(), "64")
	}
}

// String returns the present value when it is a plain one, else nothing.
func (s *Setting) String() string {
	if s == nil || !s.target.IsValid() {
		return ""
	}
	v := s.target
	for _, index := range s.path {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return ""
			}
			v = v.Elem()
		}
		v = v.FieldByIndex(index)
	}
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface:
		return ""
	default:
		if v.IsZero() && v.Kind() != reflect.Bool {
			return ""
		}
		return fmt.Sprint(v.Interface())
	}
}

// Set changes the struct. The first call replaces a list, later ones add to it; maps are added to.
func (s *Setting) Set(value string) error {
	if !utf8.ValidString(value) {
		return fmt.Errorf("is not UTF-8")
	}
	v := s.target
	for _, index := range s.path {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.FieldByIndex(index)
	}
	if !s.given && v.Kind() == reflect.Slice {
		v.SetZero()
	}
	s.given = true
	return convert(value, v)
}

// convert reads a flag's text the way GitLab Runner does: lists grow by one element, map entries are
// written key:value, durations as Go writes them.
func convert(text string, out reflect.Value) error {
	switch p := out.Addr().Interface().(type) {
	case FlagUnmarshaler:
		return p.UnmarshalFlag(text)
	case *StringList:
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*p = append(*p, item)
			}
		}
		return nil
	case *time.Duration:
		d, err := time.ParseDuration(text)
		*p = d
		return err
	}
	switch out.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(out.Type().Elem())
		err := convert(text, fresh.Elem())
		out.Set(fresh)
		return err
	case reflect.Slice:
		e := reflect.New(out.Type().Elem()).Elem()
		err := convert(text, e)
		out.Set(reflect.Append(out, e))
		return err
	case reflect.Map:
		return convertEntry(text, out)
	default:
		return convertPlain(text, out)
	}
}

func convertEntry(text string, out reflect.Value) error {
	key, value, _ := strings.Cut(text, ":")
	e := reflect.New(out.Type().Elem()).Elem()
	if err := convert(value, e); err != nil {
		return fmt.Errorf("must be KEY:VALUE, is %q: %w", text, err)
	}
	if out.IsNil() {
		out.Set(reflect.MakeMap(out.Type()))
	}
	out.SetMapIndex(reflect.ValueOf(key), e)
	return nil
}

func convertPlain(text string, out reflect.Value) error {
	switch out.Kind() {
	case reflect.String:
		out.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil && text != "" {
			return fmt.Errorf("must be true or false, is %q", text)
		}
		out.SetBool(b || text == "")
		return nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("must be a number, is %q", text)
		}
		out.SetFloat(f)
		return nil
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("must be a whole number, is %q", text)
		}
		out.SetInt(n)
		return nil
	}
}
