package task

import (
	"fmt"
	"io"
)

// Log writes the runner's own lines into the stage's output, coloured as GitLab Runner's are.
// A failed write is not reported: the spool is at fault, and whoever owns it knows.
type Log struct{ Out io.Writer }

// GitLab Runner's colours (helpers/ansi_colors.go).
const (
	BoldGreen = "\x1b[32;1m"
	BoldRed   = "\x1b[31;1m"
	Yellow    = "\x1b[0;33m"
	Reset     = "\x1b[0;m"
)

// Notice writes a phase, in bold green.
func (l Log) Notice(format string, args ...any) {
	l.line(BoldGreen + fmt.Sprintf(format, args...) + Reset)
}

// Warn writes a warning, in yellow.
func (l Log) Warn(format string, args ...any) {
	l.line(Yellow + fmt.Sprintf(format, args...) + Reset)
}

// Plain writes a line without a colour of its own.
func (l Log) Plain(format string, args ...any) {
	l.line(fmt.Sprintf(format, args...))
}

func (l Log) line(s string) { _, _ = io.WriteString(l.Out, s+"\n") }
