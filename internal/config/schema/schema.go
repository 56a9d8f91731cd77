// Package schema maps TOML onto structs whose tags say everything about a key: its name, its flag,
// its environment variable and whether it is implemented. From the same tags it decodes a document
// with lines for every problem, writes a struct, lists flags, and edits a document's text without
// touching what an edit is not about.
//
// The tags: toml is the key, flag a flag's name without its prefix, short a second name of the flag,
// ns the prefix of a section's flags, env the environment variable (a leading @ puts the prefixes
// before it), help a help text, state "todo" or "ignored" for keys without effect.
package schema

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// The values of the tag state.
const (
	stateTodo    = "todo"
	stateIgnored = "ignored"
)

// field is one key of a section.
type field struct {
	key   string
	state string
	index []int
	tag   reflect.StructTag
	typ   reflect.Type
}

type fields []field

// fieldsOf lists the keys of a section's type in the order of its fields.
func fieldsOf(t reflect.Type) fields {
	var out fields
	for f := range t.Fields() {
		key := f.Tag.Get("toml")
		if !f.IsExported() || key == "" || key == "-" {
			continue
		}
		out = append(out, field{key: key, state: f.Tag.Get("state"), index: f.Index, tag: f.Tag, typ: f.Type})
	}
	return out
}

// find returns the field that key means. Like GitLab Runner's TOML library it takes a key in
// another case, unless the exact one is there as well.
func (fs fields) find(key string, all map[string]any) (field, bool) {
	for _, f := range fs {
		if f.key == key {
			return f, true
		}
	}
	for _, f := range fs {
		if _, exact := all[f.key]; !exact && strings.EqualFold(f.key, key) && firstFold(key, all) {
			return f, true
		}
	}
	return field{}, false
}

// firstFold reports whether key comes first of the keys that differ from it in case only.
func firstFold(key string, all map[string]any) bool {
	for other := range all {
		if other < key && strings.EqualFold(other, key) {
			return false
		}
	}
	return true
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// section returns the struct type of a section behind pointers and slices, nil when t is none.
func section(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	return t
}

// unknown warns of a key that GitLab Runner does not know either.
func (d *Decoder) unknown(path, key string, t reflect.Type) {
	parent := strings.TrimSuffix(path, Join("", key))
	if near := nearest(key, t); near != "" {
		d.Warn(path, "is unknown and has no effect; did you mean %s?", near)
		return
	}
	if inside := findBelow(key, t, ""); inside != "" {
		d.Warn(path, "is unknown here and has no effect; did you mean %s?", parent+inside)
		return
	}
	d.Warn(path, "is unknown and has no effect: remove it or look for its right name")
}

// nearest returns the key of t that is at most a few typing mistakes away from key.
func nearest(key string, t reflect.Type) string {
	best, distance := "", min(3, len(key)/4+1)+1
	for _, f := range fieldsOf(t) {
		if n := edits(strings.ToLower(key), strings.ToLower(f.key)); n < distance {
			best, distance = f.key, n
		}
	}
	return best
}

// findBelow returns the path of key in the sections below t that are not of foreign executors.
func findBelow(key string, t reflect.Type, path string) string {
	for _, f := range fieldsOf(t) {
		s := section(f.typ)
		if s == nil || f.state == stateIgnored {
			continue
		}
		at := Join(path, f.key)
		for _, g := range fieldsOf(s) {
			if g.key == key {
				return Join(at, key)
			}
		}
		if found := findBelow(key, s, at); found != "" {
			return found
		}
	}
	return ""
}

// edits is the Levenshtein distance of two short strings; long ones count as far apart.
func edits(a, b string) int {
	const long = 64
	if len(a) > long || len(b) > long {
		return long
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost = 1 + min(previous, row[j], row[j+1])
			}
			previous, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// Opaque is a section or value that is known but not looked into.
type Opaque any

// StringList is a list that may also be written as one string; as a flag, items are separated by
// commas and several flags add up.
type StringList []string
