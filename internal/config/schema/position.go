package schema

import (
	"bytes"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// item is one top-level expression of a TOML document: a header, a key with its value, a comment.
type item struct {
	kind   unstable.Kind
	offset int    // of its first byte (of the first key for a header)
	path   string // of the table or key
}

// remark is a comment about an element of a list.
type remark struct {
	element int
	text    string
}

// span is a range of bytes of a document.
type span struct{ from, to int }

// Document is the shape of a TOML document: where each key stands. It is not changed after Parse;
// editing methods return new bytes. A path is written runners[0].docker.image.
type Document struct {
	text   []byte
	starts []int           // offset of each line
	at     map[string]int  // offset of the first mention of each path
	values map[string]span // of the values that are strings
	counts map[string]int  // elements of each array of tables
	inside map[string][]remark
	items  []item
}

// Join extends the path of a table by a key, quoted when it is no bare key.
func Join(path, key string) string {
	if key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// Element is the path of an element of a list.
func Element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// Parse finds every key of text. It does not check what a TOML decoder checks better
// (keys given twice, tables opened again).
func Parse(text []byte) (*Document, error) {
	d := &Document{text: text, at: map[string]int{}, values: map[string]span{}, counts: map[string]int{}, inside: map[string][]remark{}}
	d.starts = append(d.starts, 0)
	for i, c := range text {
		if c == '\n' {
			d.starts = append(d.starts, i+1)
		}
	}
	p := unstable.Parser{KeepComments: true}
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Comment:
			d.items = append(d.items, item{kind: e.Kind, offset: int(e.Raw.Offset)})
		case unstable.Table, unstable.ArrayTable:
			var offset int
			table, offset = d.header(e)
			d.items = append(d.items, item{kind: e.Kind, offset: offset, path: table})
		case unstable.KeyValue:
			path, offset := d.keyValue(table, e)
			d.items = append(d.items, item{kind: e.Kind, offset: offset, path: path})
			if after := e.Next(); after != nil && after.Kind == unstable.Comment {
				d.remark(path, 0, after)
			}
		}
	}
	if err := p.Error(); err != nil {
		return nil, err
	}
	return d, nil
}

// elementOf returns which element of an array of tables a path belongs to, -1 for none.
func elementOf(array, path string) int {
	rest, ok := strings.CutPrefix(path, array+"[")
	if !ok {
		return -1
	}
	digits, _, _ := strings.Cut(rest, "]")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return n
}

// header notes the table that a [header] or [[header]] opens.
func (d *Document) header(e *unstable.Node) (path string, offset int) {
	offset = -1
	keys := e.Key()
	for keys.Next() {
		n := keys.Node()
		if offset < 0 {
			offset = int(n.Raw.Offset)
		}
		path = Join(path, string(n.Data))
		if e.Kind == unstable.ArrayTable && keys.IsLast() {
			d.note(path, offset)
			d.counts[path]++
		}
		if count := d.counts[path]; count > 0 {
			path = Element(path, count-1)
		}
		d.note(path, offset)
	}
	return path, max(offset, 0)
}

// keyValue notes a key and everything in its value.
func (d *Document) keyValue(table string, e *unstable.Node) (path string, offset int) {
	path, offset = table, -1
	keys := e.Key()
	for keys.Next() {
		n := keys.Node()
		if offset < 0 {
			offset = int(n.Raw.Offset)
		}
		path = Join(path, string(n.Data))
		d.note(path, int(n.Raw.Offset))
	}
	d.value(path, e.Value(), max(offset, 0))
	return path, max(offset, 0)
}

func (d *Document) value(path string, n *unstable.Node, offset int) {
	switch n.Kind {
	case unstable.String:
		d.values[path] = span{int(n.Raw.Offset), int(n.Raw.Offset + n.Raw.Length)}
	case unstable.InlineTable:
		children := n.Children()
		for children.Next() {
			if c := children.Node(); c.Kind == unstable.KeyValue {
				d.keyValue(path, c)
			}
		}
	case unstable.Array:
		i := 0
		children := n.Children()
		for children.Next() {
			c := children.Node()
			if c.Kind == unstable.Comment {
				d.remarks(path, i, c)
				continue
			}
			if c.Raw.Length > 0 {
				offset = int(c.Raw.Offset)
			}
			d.note(Element(path, i), offset)
			d.value(Element(path, i), c, offset)
			i++
		}
	default:
	}
}

// remarks notes comments that stand in a list before element i. Those behind an element belong to it.
func (d *Document) remarks(list string, i int, c *unstable.Node) {
	of := i
	if before, ok := d.at[Element(list, i-1)]; ok && d.lineOf(before) == d.lineOf(int(c.Raw.Offset)) {
		of = i - 1
	}
	d.remark(list, of, c)
	more := c.Children() // the parser hangs those that follow on the first
	for more.Next() {
		d.remark(list, i, more.Node())
	}
}

func (d *Document) remark(list string, element int, c *unstable.Node) {
	d.inside[list] = append(d.inside[list], remark{element, string(bytes.TrimRight(c.Data, "\r"))})
}

// Comments returns the comments about element i of a list that is the value of a key, those behind the
// list's end with those of the first; the last i is that of the elements' number, for what follows them.
func (d *Document) Comments(list string, i int) []string {
	var out []string
	for _, r := range d.inside[list] {
		if r.element == i {
			out = append(out, r.text)
		}
	}
	return out
}

func (d *Document) note(path string, offset int) {
	if _, ok := d.at[path]; !ok {
		d.at[path] = offset
	}
}

// lineOf returns the line, from 1, of an offset.
func (d *Document) lineOf(offset int) int {
	return sort.SearchInts(d.starts, offset+1)
}

// Line returns the line of a path or of the nearest table around it that is known; 0 when none is.
func (d *Document) Line(path string) int {
	for path != "" {
		if offset, ok := d.at[path]; ok {
			return d.lineOf(offset)
		}
		i := strings.LastIndexAny(path, ".[")
		path = path[:max(i, 0)]
	}
	return 0
}

// lineStart and lineEnd return the range of the line around offset; the end is after its newline.
func (d *Document) lineStart(offset int) int { return d.starts[d.lineOf(offset)-1] }

func (d *Document) lineEnd(offset int) int {
	i := bytes.IndexByte(d.text[offset:], '\n')
	if i < 0 {
		return len(d.text)
	}
	return offset + i + 1
}
