// Package lenient reads JSON as GitLab sends it over its versions.
package lenient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Decoder fills structs from JSON as GitLab sends it over its versions: null and absent are the
// same, unknown keys are passed over, numbers and booleans may be strings and the other way round,
// one string may stand for a list of one. What is not convertible is left at zero and noted.
type Decoder struct {
	Mismatches []Mismatch // of all calls so far, at most MaxMismatches
}

// Mismatch is a place in the JSON where something else was expected.
type Mismatch struct {
	Path      string // such as "steps[0].name"
	want, got string
}

// String says so in a sentence; it holds nothing of the value.
func (m Mismatch) String() string {
	return fmt.Sprintf("%s is %s where %s was expected", m.Path, m.got, m.want)
}

// MaxMismatches bounds what one hostile payload can make us remember.
const MaxMismatches = 20

func (d *Decoder) note(path, want string, raw json.RawMessage) {
	if len(d.Mismatches) < MaxMismatches {
		d.Mismatches = append(d.Mismatches, Mismatch{Path: path, want: want, got: KindOf(raw)})
	}
}

// DecodeObject fills the struct that target points to from raw; raw must be one JSON object.
func (d *Decoder) DecodeObject(raw json.RawMessage, target any) error {
	if KindOf(raw) != "an object" {
		if json.Valid(raw) {
			return fmt.Errorf("it is %s instead of an object", KindOf(raw))
		}
		return errors.New("it is not JSON")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	d.fields(fields, reflect.ValueOf(target).Elem(), "")
	return nil
}

func (d *Decoder) fields(fields map[string]json.RawMessage, target reflect.Value, path string) {
	for i := range target.NumField() {
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		if raw, ok := fields[name]; ok && name != "-" {
			d.value(raw, target.Field(i), path+name)
		}
	}
}

func (d *Decoder) value(raw json.RawMessage, target reflect.Value, path string) {
	if KindOf(raw) == "null" {
		return
	}
	if keep, ok := target.Addr().Interface().(*json.RawMessage); ok {
		*keep = bytes.Clone(raw)
		return
	}
	switch target.Kind() {
	case reflect.Pointer:
		inner := reflect.New(target.Type().Elem())
		before := len(d.Mismatches)
		if d.value(raw, inner.Elem(), path); len(d.Mismatches) == before {
			target.Set(inner)
		}
	case reflect.Struct:
		d.object(raw, target, path)
	case reflect.Slice:
		d.list(raw, target, path)
	case reflect.Map:
		if err := json.Unmarshal(raw, target.Addr().Interface()); err != nil {
			d.emptyOr(raw, "an object", path)
		}
	case reflect.String:
		d.text(raw, target, path)
	case reflect.Bool:
		d.boolean(raw, target, path)
	default:
		d.number(raw, target, path)
	}
}

func (d *Decoder) object(raw json.RawMessage, target reflect.Value, path string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		d.emptyOr(raw, "an object", path)
		return
	}
	d.fields(fields, target, path+".")
}

// emptyOr notes a mismatch unless raw is an empty list or string, which Rails sends for "nothing".
func (d *Decoder) emptyOr(raw json.RawMessage, want, path string) {
	if s := string(bytes.TrimSpace(raw)); s != "[]" && s != `""` {
		d.note(path, want, raw)
	}
}

func (d *Decoder) list(raw json.RawMessage, target reflect.Value, path string) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		if KindOf(raw) == "a string" && target.Type().Elem().Kind() == reflect.String {
			items = []json.RawMessage{raw}
		} else {
			if s := string(bytes.TrimSpace(raw)); s != "{}" && s != `""` {
				d.note(path, "a list", raw)
			}
			return
		}
	}
	list := reflect.MakeSlice(target.Type(), len(items), len(items))
	n := 0
	for i, item := range items {
		if KindOf(item) == "null" {
			continue
		}
		d.value(item, list.Index(n), path+"["+strconv.Itoa(i)+"]")
		n++
	}
	target.Set(list.Slice(0, n))
}

func (d *Decoder) text(raw json.RawMessage, target reflect.Value, path string) {
	switch KindOf(raw) {
	case "a string":
		var s string
		if json.Unmarshal(raw, &s) == nil {
			target.SetString(s)
		}
	case "a number", "a boolean":
		target.SetString(string(bytes.TrimSpace(raw)))
	default:
		d.note(path, "a string", raw)
	}
}

func (d *Decoder) boolean(raw json.RawMessage, target reflect.Value, path string) {
	switch strings.ToLower(Unquoted(raw)) {
	case "true", "1":
		target.SetBool(true)
	case "false", "0", "":
		target.SetBool(false)
	default:
		d.note(path, "a boolean", raw)
	}
}

func (d *Decoder) number(raw json.RawMessage, target reflect.Value, path string) {
	s := strings.TrimSpace(Unquoted(raw))
	if s == "" && KindOf(raw) == "a string" {
		return
	}
	if target.Kind() == reflect.Float64 {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			target.SetFloat(f)
			return
		}
	} else if n, ok := wholeNumber(s); ok && !target.OverflowInt(n) {
		target.SetInt(n)
		return
	}
	want := "a number"
	if KindOf(raw) == want {
		want = "a smaller one"
	}
	d.note(path, want, raw)
}

// wholeNumber reads s, cutting off decimals: timeouts come as 3600.0 from some versions.
func wholeNumber(s string) (int64, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) >= 1<<63 {
		return 0, false
	}
	return int64(f), true
}

// Unquoted returns the string that raw is, or raw itself.
func Unquoted(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(bytes.TrimSpace(raw))
}

// KindOf says what kind of JSON value raw begins with, in words for a message.
func KindOf(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}
