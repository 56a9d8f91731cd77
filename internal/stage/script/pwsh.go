package script

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/task"
)

// runPwsh runs text from a file in the stage's scratch directory, which nobody else can enter.
func runPwsh(ctx context.Context, tk *task.Task, path, text string) stage.Result {
	file := filepath.Join(tk.Place.Scratch, "script.ps1")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return task.System(fmt.Errorf("hand the script to the shell: %w", err))
	}
	defer os.Remove(file)
	e, err := tk.Exec(ctx, stage.Command{
		Path: path, Args: []string{path, "-NoProfile", "-NoLogo", "-NonInteractive", "-File", file},
		Stdout: tk.Place.Stdout, Stderr: tk.Place.Stderr,
	})
	return ending(e, err)
}

// powershell is the program for pwsh: a cmdlet's error stops it, and so does a program's exit code.
func (t text) powershell(groups []group) string {
	var b strings.Builder
	b.WriteString("$ErrorActionPreference = 'Stop'\n")
	if t.script.Trace {
		b.WriteString("Set-PSDebug -Trace 2\n")
	}
	for _, g := range groups {
		for _, line := range g.lines {
			line = strings.TrimSpace(strings.ReplaceAll(line, "\x00", ""))
			first, _, multi := strings.Cut(line, "\n")
			if multi {
				first += " # collapsed multi-line command"
			}
			if line != "" {
				first = task.BoldGreen + "$ " + strings.TrimRight(first, "\r") + task.Reset
			}
			b.WriteString("[Console]::Out.WriteLine(" + quotePwsh(first) + ")\n" + line + "\n")
			b.WriteString("if (!$?) { exit $(if ($LASTEXITCODE) { $LASTEXITCODE } else { 1 }) }\n")
		}
	}
	return b.String()
}

// quotePwsh makes s one literal string. PowerShell takes typographic quotes for plain ones.
func quotePwsh(s string) string {
	return "'" + strings.NewReplacer("'", "''", "\u2018", "\u2018\u2018", "\u2019", "\u2019\u2019",
		"\u201a", "\u201a\u201a", "\u201b", "\u201b\u201b").Replace(s) + "'"
}
