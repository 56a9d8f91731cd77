package pipeline

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// document reads the one YAML document of a file.
func document(file string, data []byte) (*yaml.Node, error) {
	if line := invalidUTF8(data); line > 0 {
		return nil, &Error{File: file, Line: line, Message: "is not UTF-8; save the file as UTF-8"}
	}
	var doc, second yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	err := d.Decode(&doc)
	if errors.Is(err, io.EOF) || (err == nil && (doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 || isNull(doc.Content[0]))) {
		return nil, &Error{File: file, Message: "is empty; write at least one job"}
	}
	if err == nil {
		if err = d.Decode(&second); errors.Is(err, io.EOF) {
			return &doc, nil
		}
	}
	if err != nil {
		return nil, notYAML(file, data, err)
	}
	return nil, &Error{File: file, Line: second.Line, Message: "a second YAML document begins; spec and its inputs are not supported, so write one document"}
}

// invalidUTF8 returns the first line that is not UTF-8, 0 for none.
func invalidUTF8(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return 1 + bytes.Count(data[:at], []byte("\n"))
		}
		at += size
	}
	return 0
}

// notYAML makes an Error of the parser's.
func notYAML(file string, data []byte, err error) *Error {
	e := &Error{File: file, Message: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	m := regexp.MustCompile(`^yaml: line (\d+): (.*)$`).FindStringSubmatch(err.Error())
	if m == nil {
		return e
	}
	e.Line, _ = strconv.Atoi(m[1]) // digits, by the pattern
	e.Message = "not YAML: " + m[2]
	lines := strings.Split(string(data), "\n")
	if e.Line <= len(lines) && strings.Contains(indent(lines[e.Line-1]), "\t") {
		e.Message += "; indent with spaces, not with tabs"
	}
	return e
}

func indent(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }

// number returns a number as Ruby writes it, which is how GitLab passes numbers on: 010 is 8, 1.10 is 1.1.
func number(n *yaml.Node) string {
	var i int64
	if n.ShortTag() == "!!int" && n.Decode(&i) == nil {
		return strconv.FormatInt(i, 10)
	}
	var f float64
	if n.ShortTag() == "!!float" && n.Decode(&f) == nil {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.ContainsAny(s, ".NI") {
			s += ".0"
		}
		return s
	}
	return n.Value
}

// value returns a variable's value: a string or a number.
func (r *reader) value(n *yaml.Node, key string) string {
	n = r.deref(n)
	if n.Kind == yaml.ScalarNode && (isNull(n) || isBoolean(n)) {
		r.spend(n)
		r.errorf(n.Line, key, "is %s, but should be a string or a number; quote it", kind(n))
		return ""
	}
	return r.scalar(n, key)
}

// isBoolean knows YAML 1.1's words, too: GitLab's parser reads them so.
func isBoolean(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	if n.ShortTag() == "!!bool" {
		return true
	}
	if n.Style != 0 || n.ShortTag() != "!!str" {
		return false
	}
	switch strings.ToLower(n.Value) {
	case "yes", "no", "on", "off":
		return true
	}
	return false
}

// strings returns a list of strings, where GitLab takes no single string.
func (r *reader) strings(n *yaml.Node, key string) []string {
	if n := r.deref(n); n.Kind != yaml.SequenceNode {
		r.spend(n)
		r.wrong(n, key, "a list of strings")
		return []string{}
	}
	return r.texts(n, key)
}

// printable reports a string that cannot be in a job: GitLab's database has no NUL.
func (r *reader) printable(n *yaml.Node, key string) {
	if strings.ContainsRune(n.Value, 0) {
		r.errorf(n.Line, key, "holds a NUL byte; remove it")
	}
}
