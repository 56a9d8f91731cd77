package files

import (
	"fmt"
	"io"

	"gitlab.com/skerry/skerry/internal/stage/task"
)

// helperLog writes lines as GitLab Runner's helper program does, which logs to standard error.
// Source: gitlab-runner log/runner_formatter.go.
type helperLog struct{ out io.Writer }

func (l helperLog) info(format string, args ...any) { l.line("", "", fmt.Sprintf(format, args...)) }
func (l helperLog) warn(format string, args ...any) {
	l.line(task.Yellow, "WARNING: ", fmt.Sprintf(format, args...))
}
func (l helperLog) fail(format string, args ...any) {
	l.line(task.BoldRed, "ERROR: ", fmt.Sprintf(format, args...))
}
func (l helperLog) fatal(err error) {
	l.line(task.BoldRed, "FATAL: ", err.Error())
}

func (l helperLog) line(color, level, text string) {
	_, _ = fmt.Fprintf(l.out, "%s%s%-*s%s \n", color, level, 50-len(level), text, task.Reset)
}
