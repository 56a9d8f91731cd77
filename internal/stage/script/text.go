package script

import (
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// group is some lines under the name that their sections get in the log (GitLab Runner's names).
type group struct {
	name  string
	lines []string
}

// text makes the program that a shell runs from the user's lines.
type text struct {
	kind    string
	script  *stage.Script
	dir     string
	exports []stage.Var // to be exported by the shell itself: a profile may have changed them, or they are too big for exec
}

// posix is the program for bash and sh: options as GitLab Runner sets them (shells/bash.go, Finish),
// then each line after its echo.
func (t text) posix(groups []group) string {
	var b strings.Builder
	size := 4096
	for _, g := range groups {
		for _, l := range g.lines {
			size += len(l)*9/8 + 128
		}
	}
	b.Grow(size)
	b.WriteString("unset skerry_script\n")
	for _, v := range t.exports {
		if isName(v.Key) && strings.IndexByte(v.Value, 0) < 0 {
			b.WriteString("export " + v.Key + "=" + task.Quote(v.Value) + "\n")
		}
	}
	if t.script.Umask >= 0 {
		fmt.Fprintf(&b, "umask %04o\n", t.script.Umask&0o777)
	}
	if t.script.Login && t.dir != "" {
		b.WriteString("cd " + task.Quote(t.dir) + " || exit\n")
	}
	if t.script.Trace {
		b.WriteString("set -o xtrace\n")
	}
	if t.kind == bash {
		b.WriteString("set -o pipefail; set -o errexit\n")
	} else {
		b.WriteString("case \"$(set -o)\" in *pipefail*) set -o pipefail;; esac; set -o errexit\n")
	}
	b.WriteString("set +o noclobber\n")
	for _, g := range groups {
		for i, l := range g.lines {
			t.line(&b, g.name+"_"+strconv.Itoa(i), l)
		}
	}
	return b.String()
}

// line writes one entry: what shows it, then itself.
func (t text) line(b *strings.Builder, section, line string) {
	line = strings.TrimSpace(strings.ReplaceAll(line, "\x00", ""))
	first, _, multi := strings.Cut(line, "\n")
	switch {
	case line == "":
		b.WriteString("echo\n")
	case !multi:
		b.WriteString(`printf '%s\n' ` + task.Quote(task.BoldGreen+"$ "+line+task.Reset) + "\n")
	case t.script.Sections:
		t.section(b, section, line)
	default:
		b.WriteString(`printf '%s\n' ` + task.Quote(task.BoldGreen+"$ "+first+" # collapsed multi-line command"+task.Reset) + "\n")
	}
	b.WriteString(line + "\n")
	if t.script.CheckEach {
		b.WriteString("_runner_exit_code=$?; if [ $_runner_exit_code -ne 0 ]; then exit $_runner_exit_code; fi\n")
	}
}

// section shows a line of several as a collapsed section that ends before the line runs.
func (t text) section(b *strings.Builder, name, line string) {
	show := task.Quote("[hide_duration=true,collapsed=true]\r\x1b[0K" + task.BoldGreen + "$ " + line + task.Reset)
	now, stamp := `"$(date +%s)"`, "%s"
	if t.kind == bash {
		now, stamp = "-1", "%(%s)T"
	}
	fmt.Fprintf(b, "printf 'section_start:%s:section_%s%%s\\n' %s %s\n", stamp, name, now, show)
	fmt.Fprintf(b, "printf 'section_end:%s:section_%s\\r\\033[0K\\n' %s\n", stamp, name, now)
}
