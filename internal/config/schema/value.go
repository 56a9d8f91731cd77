package schema

import (
	"bytes"
	"slices"
)

// IsString reports whether path is a key with a string as its value.
func (d *Document) IsString(path string) bool {
	_, ok := d.values[path]
	return ok
}

// WithValue returns the document with another value, in TOML, of the key of a table. A key that is
// not there is added after the key named beside, which must be. Values are strings or dates.
func (d *Document) WithValue(table, key, value, beside string) []byte {
	text := d.text
	if offset, ok := d.at[Join(table, key)]; ok {
		from, to := d.valueSpan(Join(table, key), offset)
		return slices.Concat(text[:from], []byte(value), text[to:])
	}
	token := Join(table, beside)
	_, end := d.valueSpan(token, d.at[token])
	start := d.lineStart(d.at[token])
	indent := text[start:d.at[token]]
	if !slices.ContainsFunc(d.items, func(it item) bool { return it.path == token }) { // inside an inline table
		return slices.Concat(text[:end], []byte(", "+key+" = "+value), text[end:])
	}
	after := d.lineEnd(end)
	newline := []byte("\n")
	if bytes.HasSuffix(text[:after], []byte("\r\n")) {
		newline = []byte("\r\n")
	}
	line := slices.Concat(indent, []byte(key+" = "+value), newline)
	if after > 0 && text[after-1] != '\n' {
		line = slices.Concat(newline, line)
	}
	return slices.Concat(text[:after], line, text[after:])
}

// valueSpan finds the bytes of a value that is a string or a date on one line.
func (d *Document) valueSpan(path string, key int) (from, to int) {
	if s, ok := d.values[path]; ok {
		return s.from, s.to
	}
	from = key + bytes.IndexByte(d.text[key:], '=') + 1
	for from < len(d.text) && (d.text[from] == ' ' || d.text[from] == '\t') {
		from++
	}
	to = from
	for to < len(d.text) && !bytes.ContainsRune([]byte(",}#\r\n"), rune(d.text[to])) {
		to++
	}
	return from, from + len(bytes.TrimRight(d.text[from:to], " \t"))
}
