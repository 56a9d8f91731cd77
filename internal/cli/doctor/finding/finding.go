// Package finding is what a check of `doctor` says: how bad it is, what is wrong, why that matters and which commands mend it.
package finding

import (
	"context"
	"fmt"
	"strings"
)

// Severity is how bad a finding is. A greater one is worse.
type Severity int

// The severities.
const (
	Skipped Severity = iota // it could not be looked at, which another finding explains
	Fine
	Warning // jobs run, and something of theirs will fail or be slow
	Failure // jobs of some runner cannot run
)

// String names a severity, as JSON has it.
func (s Severity) String() string { return [...]string{"skipped", "ok", "warning", "failure"}[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Check looks at one thing.
type Check struct {
	Name  string // "subuid"; docs/doctor.md has a row for it
	About string // whom or what it is about: "user ci", "runner builder"; empty: the machine
	Look  func(ctx context.Context) Result
}

// Result is what a check finds. Its texts are one line each and hold no secrets.
type Result struct {
	Severity Severity  `json:"severity"`
	What     string    `json:"what"`             // what is wrong, or that it is fine
	Why      string    `json:"why,omitempty"`    // it matters
	Mend     []Command `json:"mend,omitempty"`   // one after the other; what they do can be done again
	Loses    string    `json:"loses,omitempty"`  // what is gone when Mend has been done; nobody's word but that of a person is enough then
	Advice   string    `json:"advice,omitempty"` // what people have to do, where commands do not do or are not enough
}

// OK is the result of a check that finds nothing wrong.
func OK(format string, args ...any) Result {
	return Result{Severity: Fine, What: fmt.Sprintf(format, args...)}
}

// Skip is the result of a check that cannot look.
func Skip(format string, args ...any) Result {
	return Result{Severity: Skipped, What: fmt.Sprintf(format, args...)}
}

// Command is a program with its arguments.
type Command []string

// String is the command as a shell takes it.
func (c Command) String() string {
	words := make([]string, 0, len(c))
	for _, w := range c {
		words = append(words, quote(w))
	}
	return strings.Join(words, " ")
}

// quote leaves alone what no shell changes.
func quote(w string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@+,%", r)
	}
	if w != "" && strings.IndexFunc(w, func(r rune) bool { return !safe(r) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// Line is all commands as one line for a shell, each only when the one before it succeeded.
func Line(commands []Command) string {
	lines := make([]string, 0, len(commands))
	for _, c := range commands {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, " && ")
}
