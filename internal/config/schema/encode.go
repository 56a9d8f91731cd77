package schema

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Render writes the struct that v points to as an element of an array of tables: what is set, plain
// values first, then sections, indented as GitLab Runner does.
func Render(array string, v any) string {
	var b strings.Builder
	b.WriteString("[[" + array + "]]\n")
	renderTable(&b, array, "  ", reflect.ValueOf(v).Elem())
	return b.String()
}

// renderTable writes the set fields of a section whose header stands already.
func renderTable(b *strings.Builder, path, indent string, v reflect.Value) {
	var later []field
	for _, f := range fieldsOf(v.Type()) {
		value := v.FieldByIndex(f.index)
		if value.IsZero() {
			continue
		}
		if isTable(value.Type()) {
			later = append(later, f)
			continue
		}
		fmt.Fprintf(b, "%s%s = %s\n", indent, Join("", f.key), inline(value))
	}
	for _, f := range later {
		renderSection(b, path+"."+Join("", f.key), indent, v.FieldByIndex(f.index))
	}
}

func renderSection(b *strings.Builder, path, indent string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		for _, e := range v.Seq2() {
			fmt.Fprintf(b, "%s[[%s]]\n", indent, path)
			renderTable(b, path, indent+"  ", e)
		}
	case reflect.Map:
		fmt.Fprintf(b, "%s[%s]\n", indent, path)
		for _, k := range sortedMapKeys(v) {
			fmt.Fprintf(b, "%s  %s = %s\n", indent, Join("", k), inline(v.MapIndex(reflect.ValueOf(k))))
		}
	default:
		fmt.Fprintf(b, "%s[%s]\n", indent, path)
		renderTable(b, path, indent+"  ", v)
	}
}

// isTable reports whether values of t get a header of their own.
func isTable(t reflect.Type) bool {
	return section(t) != nil || t.Kind() == reflect.Map
}

func sortedMapKeys(v reflect.Value) []string {
	var keys []string
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}

// inline writes any value on one line.
func inline(v reflect.Value) string {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		return inline(v.Elem())
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return Date(x)
	case time.Duration:
		return Quote(x.String())
	case string:
		return Quote(x)
	case fmt.Stringer: // local dates and times of a template
		return x.String()
	}
	switch v.Kind() {
	case reflect.String:
		return Quote(v.String())
	case reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.ContainsAny(s, ".IN") {
			s += ".0"
		}
		return strings.ToLower(strings.TrimPrefix(s, "+"))
	case reflect.Slice:
		var parts []string
		for _, e := range v.Seq2() {
			parts = append(parts, inline(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Map:
		var parts []string
		for _, k := range sortedMapKeys(v) {
			parts = append(parts, Join("", k)+" = "+inline(v.MapIndex(reflect.ValueOf(k))))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return fmt.Sprint(v.Interface())
	}
}

// Quote writes a basic string. What is not UTF-8 cannot be in a TOML file: it is replaced.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Date writes a date as UTC to the second.
func Date(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
