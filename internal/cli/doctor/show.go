package doctor

import (
	"encoding/json"
	"fmt"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/program"
)

// nameWidth is that of the longest name of a check.
const nameWidth = len("configuration")

// styles of a terminal (ECMA-48, 8.3.117).
var styles = map[finding.Severity]string{ //nolint:gochecknoglobals // a constant
	finding.Skipped: "\x1b[2m", finding.Fine: "\x1b[32m", finding.Warning: "\x1b[33m", finding.Failure: "\x1b[31;1m",
}

// show writes what a check has found: a line, and for what is wrong two more.
func (d *doctor) show(l looked) {
	status := fmt.Sprintf("%-7s", l.Severity)
	if d.color {
		status = styles[l.Severity] + status + "\x1b[0m"
	}
	what := l.What
	if !strings.Contains(what, l.About) {
		what = l.About + ": " + what
	}
	d.program.Say("%s  %-*s  %s", status, nameWidth, l.Name, program.Cell(what))
	if l.Severity <= finding.Fine {
		return
	}
	more := func(key, text string) {
		if text != "" {
			d.program.Say("%7s  %-*s  %s", "", nameWidth, key, program.Cell(text))
		}
	}
	more("  why", l.Why)
	more("  mend", l.Instruction())
}

// Instruction is one line of what mends: the commands, what they lose, and what else there is to do.
func (l looked) Instruction() string {
	text := finding.Line(l.Mend)
	if l.Loses != "" {
		text += fmt.Sprintf("  (this loses %s)", l.Loses)
	}
	switch {
	case text == "":
		return l.Advice
	case l.Advice != "":
		return text + "  (" + l.Advice + ")"
	}
	return text
}

// summary ends the list.
func (d *doctor) summary(all []looked) {
	var failures, warnings, mended int
	for _, l := range all {
		switch {
		case l.Severity == finding.Failure:
			failures++
		case l.Severity == finding.Warning:
			warnings++
		case l.Mended:
			mended++
		}
	}
	d.program.Say("%s: %s, %s, %d mended", counted(len(all), "check"), counted(failures, "failure"), counted(warnings, "warning"), mended)
}

// counted is a number of things with their name, which takes an s in the plural.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// encode writes for other programs.
func (d *doctor) encode(all []looked) error {
	type check struct {
		Check string `json:"check"`
		About string `json:"about,omitempty"`
		finding.Result
		Command string `json:"command,omitempty"` // all of mend as a line for a shell
		Mended  bool   `json:"mended,omitempty"`
	}
	report := struct {
		Config   string           `json:"config"`
		Severity finding.Severity `json:"severity"` // the worst
		Checks   []check          `json:"checks"`
	}{Config: d.config, Severity: worst(all), Checks: []check{}}
	for _, l := range all {
		report.Checks = append(report.Checks, check{Check: l.Name, About: l.About, Result: l.Result, Command: finding.Line(l.Mend), Mended: l.Mended})
	}
	e := json.NewEncoder(d.program.Streams.Out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(report)
}
