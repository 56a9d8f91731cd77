package plan

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// shellExpansion expands the parameters in names and paths of caches and artifacts, as a shell does between
// double quotes: $VAR, ${VAR}, ${VAR:-word} and the other forms of POSIX, \$ for a dollar sign; also $$, as
// everywhere in GitLab. There are no commands and no arithmetic.
// Source: gitlab-runner commands/helpers/artifacts_uploader.go, normalizeArgs.
type shellExpansion struct {
	lookup func(name string) (value string, set bool)
	depth  int
}

const (
	maxNesting = 20      // of ${A:-${B:-…}}
	maxTrimmed = 4 << 10 // of a value that a pattern is taken from, bytes
)

// expand expands all of text.
func (x *shellExpansion) expand(text string) (string, error) {
	if x.depth++; x.depth > maxNesting {
		return "", errors.New("parameters are nested too deep")
	}
	defer func() { x.depth-- }()
	var out strings.Builder
	for text != "" {
		i := strings.IndexAny(text, "\\$`")
		if i < 0 {
			out.WriteString(text)
			break
		}
		out.WriteString(text[:i])
		text = text[i:]
		switch {
		case text[0] == '`', strings.HasPrefix(text, "$("):
			return "", errors.New("commands and arithmetic are not expanded here")
		case text[0] == '\\':
			n := 1
			if len(text) > 1 && strings.IndexByte("\\$`", text[1]) >= 0 {
				out.WriteByte(text[1])
				n = 2
			} else {
				out.WriteByte('\\')
			}
			text = text[n:]
		default:
			value, rest, err := x.parameter(text[1:])
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			text = rest
		}
	}
	return out.String(), nil
}

// parameter expands the parameter that text, what follows a dollar sign, begins with.
func (x *shellExpansion) parameter(text string) (value, rest string, err error) {
	switch {
	case text == "":
		return "$", "", nil
	case text[0] == '$':
		return "$", text[1:], nil
	case text[0] == '{':
		end := closing(text)
		if end < 0 {
			return "", "", errors.New("a ${ has no }")
		}
		value, err = x.braces(text[1:end])
		return value, text[end+1:], err
	case strings.IndexByte("*#@!?0123456789-", text[0]) >= 0:
		return "", text[1:], nil // the shell's own parameters
	}
	n := nameLength(text)
	if n == 0 {
		return "$", text, nil
	}
	value, _ = x.lookup(text[:n])
	return value, text[n:], nil
}

// closing finds the brace that closes the one that text begins with.
func closing(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '{':
			if i == 0 || text[i-1] == '$' {
				depth++
			}
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func nameLength(text string) int {
	for i, r := range text {
		letter := r == '_' || r < unicode.MaxASCII && unicode.IsLetter(r)
		digit := r >= '0' && r <= '9'
		if !letter && (!digit || i == 0) {
			return i
		}
	}
	return len(text)
}

// braces expands what stands between ${ and }.
func (x *shellExpansion) braces(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, "#"); ok && name != "" && nameLength(name) == len(name) {
		value, _ := x.lookup(name)
		return fmt.Sprint(len([]rune(value))), nil
	}
	n := nameLength(text)
	name, op := text[:n], text[n:]
	value, set := x.lookup(name)
	if n == 0 {
		return "", fmt.Errorf("${%s} is not a parameter", text)
	}
	if op == "" {
		return value, nil
	}
	if rest, ok := strings.CutPrefix(op, ":"); ok && rest != "" && strings.IndexByte("-=+?", rest[0]) >= 0 {
		set, op = value != "", rest
	}
	switch op[0] {
	case '-', '=':
		if set {
			return value, nil
		}
		return x.expand(op[1:])
	case '+':
		if !set {
			return "", nil
		}
		return x.expand(op[1:])
	case '?':
		if set {
			return value, nil
		}
		return "", fmt.Errorf("%s is not set: %s", name, op[1:])
	case '#', '%':
		return x.trim(value, op)
	default:
		return "", fmt.Errorf("${%s} is not understood here", text)
	}
}

// trim takes a pattern from the beginning (#, ##) or the end (%, %%) of value: the shortest match or the longest.
func (x *shellExpansion) trim(value, op string) (string, error) {
	if len(value) > maxTrimmed {
		return "", fmt.Errorf("a value of %d bytes is too long for a pattern", len(value))
	}
	front, longest := op[0] == '#', len(op) > 1 && op[1] == op[0]
	pattern := op[1:]
	if longest {
		pattern = op[2:]
	}
	pattern, err := x.expand(pattern)
	if err != nil {
		return "", err
	}
	re, err := shellPattern(pattern)
	if err != nil {
		return "", err
	}
	for i := range len(value) + 1 {
		n := i // the length of what is tried
		if longest {
			n = len(value) - i
		}
		part, kept := value[:n], value[n:]
		if !front {
			kept, part = value[:len(value)-n], value[len(value)-n:]
		}
		if re.MatchString(part) {
			return kept, nil
		}
	}
	return value, nil
}

// shellPattern makes a regular expression of a shell's pattern, whose * matches slashes, too.
func shellPattern(pattern string) (*regexp.Regexp, error) {
	var out strings.Builder
	out.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			out.WriteString(".*")
		case '?':
			out.WriteString(".")
		case '[':
			end := strings.IndexByte(pattern[i+1:], ']')
			if end < 1 {
				out.WriteString(`\[`)
				continue
			}
			set := strings.ReplaceAll(pattern[i+1:i+1+end], `\`, `\\`)
			if set[0] == '!' {
				set = "^" + set[1:]
			}
			out.WriteString("[" + strings.ReplaceAll(set, "[", `\[`) + "]")
			i += end + 1
		case '\\':
			if i+1 < len(pattern) {
				i++
			}
			out.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			out.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	out.WriteString(`\z`)
	return regexp.Compile(out.String())
}

// expandPath expands a path or name of a cache or artifact. What cannot be expanded stays as it is, with a
// warning for the job's log.
func (p *Plan) expandPath(text string) (expanded string, warnings []string) {
	if !strings.ContainsAny(text, "\\$`") {
		return text, nil
	}
	x := shellExpansion{lookup: func(name string) (string, bool) {
		_, set := p.Variables.Lookup(name)
		return p.Value(name), set
	}}
	expanded, err := x.expand(text)
	if err != nil {
		return text, []string{warning(fmt.Sprintf("invalid path %q: %v", text, err))}
	}
	return expanded, nil
}

// expandPaths expands every element into a new slice.
func (p *Plan) expandPaths(texts []string) (expanded, warnings []string) {
	expanded = make([]string, len(texts))
	for i, t := range texts {
		var more []string
		expanded[i], more = p.expandPath(t)
		warnings = append(warnings, more...)
	}
	return expanded, warnings
}
