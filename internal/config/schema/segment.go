package schema

import (
	"bytes"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Without returns the document without the elements of an array of tables that have these indexes,
// and without the comments that stand directly above or inside them.
func (d *Document) Without(array string, indexes ...int) []byte {
	var out []byte
	from := 0
	for _, s := range d.segments(array, indexes) {
		out = append(out, d.text[from:s.from]...)
		from = s.to
	}
	return append(out, d.text[from:]...)
}

// WithoutKey returns the document without the lines of a key and its value; found is false, and
// nothing is cut, when no top-level line sets that key.
func (d *Document) WithoutKey(path string) (text []byte, found bool) {
	i := slices.IndexFunc(d.items, func(it item) bool { return it.kind == unstable.KeyValue && it.path == path })
	if i < 0 {
		return d.text, false
	}
	return slices.Concat(d.text[:d.lineStart(d.items[i].offset)], d.text[d.endOfItem(i):]), true
}

// segments returns, in order, the ranges of lines that belong to these elements. An element has several when other tables stand between its sections.
func (d *Document) segments(array string, indexes []int) []span {
	var out []span
	for i, it := range d.items {
		header := it.kind == unstable.Table || it.kind == unstable.ArrayTable
		if !header || !slices.Contains(indexes, elementOf(array, it.path)) {
			continue
		}
		s := span{d.withComments(i), d.endOfTable(i)}
		if n := len(out); n > 0 && out[n-1].to >= s.from {
			out[n-1].to = s.to
			continue
		}
		out = append(out, s)
	}
	for i := range out {
		out[i].to = d.overBlank(out[i])
	}
	return out
}

// withComments returns where the lines of a header begin, those of the comments directly above it
// included. A comment that begins the file is the file's, not the entry's.
func (d *Document) withComments(i int) int {
	start := d.lineStart(d.items[i].offset)
	for i--; i >= 0 && d.items[i].kind == unstable.Comment; i-- {
		at := d.lineStart(d.items[i].offset)
		if at == 0 || d.lineEnd(d.items[i].offset) != start || !d.alone(d.items[i]) {
			break
		}
		start = at
	}
	return start
}

// alone reports whether a comment has its line for itself.
func (d *Document) alone(it item) bool {
	return len(bytes.TrimSpace(d.text[d.lineStart(it.offset):it.offset])) == 0
}

// endOfTable returns the end of the last line of the table that item i opens. Comments after its
// last key stay, unless a key follows them.
func (d *Document) endOfTable(i int) int {
	last := i
	for j := i + 1; j < len(d.items); j++ {
		kind := d.items[j].kind
		if kind == unstable.Table || kind == unstable.ArrayTable {
			break
		}
		if kind == unstable.KeyValue {
			last = j
		}
	}
	return d.endOfItem(last)
}

// endOfItem returns the end of the last line of an expression, which may span several: the parser
// does not say, but only blank lines stand between it and the next expression.
func (d *Document) endOfItem(i int) int {
	limit := len(d.text)
	if i+1 < len(d.items) {
		next := d.items[i+1]
		if next.kind == unstable.Comment && !d.alone(next) {
			return d.lineEnd(next.offset)
		}
		limit = d.lineStart(next.offset)
	}
	body := bytes.TrimRight(d.text[:limit], " \t\r\n")
	return d.lineEnd(len(body))
}

// overBlank extends a segment over one blank line after it, so that none piles up.
func (d *Document) overBlank(s span) int {
	if s.to >= len(d.text) || s.from > 0 && len(bytes.TrimSpace(d.text[d.lineStart(s.from-1):s.from])) > 0 {
		return s.to
	}
	end := d.lineEnd(s.to)
	if len(bytes.TrimSpace(d.text[s.to:end])) > 0 {
		return s.to
	}
	return end
}
