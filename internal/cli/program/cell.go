package program

import (
	"strings"
	"unicode"
)

// Cell is text of somebody else's, a job's author for example, as a terminal may show it in one cell of a table: what
// cannot be printed is a question mark, and nothing is a dash.
func Cell(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
