package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is something wrong or odd in a file. It is an error, too.
type Problem struct { //nolint:errname // a warning as often as an error
	File    string // as named to Load
	Line    int    // from 1; 0 when no line can be named
	Key     string // path of the key, "runners[0].docker.image"; empty for the whole file
	Message string // what, why, what to do next
}

// Error returns "FILE:LINE: KEY: MESSAGE" without the parts that are missing.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// String returns what Error returns.
func (p Problem) String() string { return p.Error() }

// Problems is an error made of several problems, one a line.
type Problems []Problem //nolint:errname // named for what it holds

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps as an error, nil when it is empty.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// ByLine sorts ps, keeping the order within a line.
func (ps Problems) ByLine() {
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}
