package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// normal is a job's log in lines, without what differs between two runs of the same runner, and without
// the messages that a runner writes in its own name. Each line begins with its section.
func (o *outcome) normal(t try) []string {
	mark := regexp.MustCompile(`section_(start|end):\d+:`)
	text := mark.ReplaceAllString(t.log, "section_$1:0:")
	// A mark that follows text without a line's end begins a line here.
	text = regexp.MustCompile(`([^\n\r\x1bK])(section_(?:start|end):0:)`).ReplaceAllString(text, "$1\n$2")
	for _, r := range []struct{ what, by string }{
		{o.side.dir, "DIR"}, {strings.TrimPrefix(o.url, "http://"), "HOST"}, {t.token, "JOBTOKEN"},
	} {
		if r.what != "" {
			text = strings.ReplaceAll(text, r.what, r.by)
		}
	}
	section := ""
	var out []string
	mark = regexp.MustCompile(`^section_(start|end):0:([a-z0-9_]+)(\[[^\]]*\])?\r\x1b\[0K`)
	for line := range strings.SplitSeq(text, "\n") {
		for {
			m := mark.FindStringSubmatch(line)
			if m == nil {
				break
			}
			line = line[len(m[0]):]
			name := ""
			if m[1] == "start" {
				name = m[2]
			}
			if strings.HasPrefix(m[2], "section_script") {
				out = append(out, fmt.Sprintf("%s| <%s of a script section>", section, m[1]))
				continue
			}
			section = name
		}
		line = strings.TrimPrefix(line, "\x1b[0K")
		line = strings.TrimSuffix(line, "\r")
		if o.own(section, line) {
			continue
		}
		for _, r := range rewrites() {
			line = r.pattern.ReplaceAllString(line, r.by)
		}
		out = append(out, section+"| "+line)
	}
	return out
}

// own reports whether the line is a message of the runner itself, or empty outside the user's scripts.
func (o *outcome) own(section, line string) bool {
	bare := strings.TrimSpace(regexp.MustCompile(`\x1b\[[0-9;]*[mK]`).ReplaceAllString(line, ""))
	if bare == "" && section != "step_script" && section != "after_script" {
		return true
	}
	for _, m := range messages() {
		if m.section != "" && !slices.Contains(strings.Split(m.section, "|"), section) || m.side != "" && m.side != o.side.name {
			continue
		}
		if m.pattern.MatchString(bare) {
			return true
		}
	}
	return false
}
