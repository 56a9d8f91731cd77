// Package service makes a service of systemd of the runner: the commands install, uninstall, start,
// stop, restart and status. The unit is that of deploy/systemd.
package service

import (
	_ "embed" // the unit
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed unit.tmpl
var unitText string

// mark begins every unit that install writes; uninstall removes no other.
const mark = "# Made by `install` of skerry. `uninstall` removes it.\n"

// unit is what a unit file says.
type unit struct {
	Name   string // of the service, without ".service"
	Binary string // absolute
	Config string // absolute
	Work   string // absolute
	User   string // jobs run as this user; empty: as the runner's
}

// checkName refuses names that systemd would not take, and paths.
func (u unit) checkName() error {
	if u.Name == "" || strings.Trim(u.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@") != "" || u.Name[0] == '.' || u.Name[0] == '-' {
		return fmt.Errorf("%q cannot be the name of a service: use letters, digits, - and _", u.Name)
	}
	return nil
}

// check refuses what cannot stand in a unit file.
func (u unit) check() error {
	if err := u.checkName(); err != nil {
		return err
	}
	for _, path := range []string{u.Binary, u.Config, u.Work} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%q must be an absolute path", path)
		}
	}
	for _, text := range []string{u.Binary, u.Config, u.Work, u.User} {
		if strings.ContainsAny(text, "\n\r\x00") {
			return errors.New("a path holds a line's end, which a unit file cannot")
		}
	}
	return nil
}

// ExecStartPre is the command that gives the directories of builds and caches to the user whose jobs use
// them; empty where that is the runner's own. The runner's working directory stays root's.
func (u unit) ExecStartPre() string {
	if u.User == "" {
		return ""
	}
	return commandLine("install", "-d", "-m", "0700", "-o", u.User, filepath.Join(u.Work, "builds"), filepath.Join(u.Work, "cache"))
}

// ExecStart is the command line, quoted for systemd.
func (u unit) ExecStart() string {
	words := []string{u.Binary, "run", "--config", u.Config, "--working-directory", u.Work, "--state-dir", filepath.Join("/var/lib", u.Name, "state")}
	if u.User != "" {
		words = append(words, "--user", u.User)
	}
	return commandLine(words...)
}

func commandLine(words ...string) string {
	quoted := make([]string, 0, len(words))
	for _, w := range words {
		quoted = append(quoted, quote(w))
	}
	return strings.Join(quoted, " ")
}

// quote makes one word of w in a command line of a unit. Source: systemd.service(5), COMMAND LINES, and
// systemd.unit(5), SPECIFIERS.
func quote(w string) string {
	w = strings.NewReplacer("%", "%%", "$", "$$").Replace(w)
	if w != "" && !strings.ContainsAny(w, " \t\"'\\;") {
		return w
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
}

// text is the unit file without mark.
func (u unit) text() (string, error) {
	if err := u.check(); err != nil {
		return "", err
	}
	t, err := template.New("unit").Parse(unitText)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, u)
	return b.String(), err
}
