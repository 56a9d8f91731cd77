package script

import (
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/stage"
)

// Whatever the environment file of a job holds becomes variables that a shell can export, or nothing.
func FuzzEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB=2", "A\n=\n9=1\n", " A=b c \r\n\x00=\xff\n", "A=$(x)\nA=b\x00c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		vars, bad := parseEnv(text)
		for _, v := range vars {
			if !isName(v.Key) || strings.ContainsAny(v.Value, "\n\x00") {
				t.Errorf("%q: %q", v.Key, v.Value)
			}
		}
		if lines := strings.Count(string(text), "\n") + 1; len(vars)+bad > lines {
			t.Errorf("%d variables and %d bad lines of %d", len(vars), bad, lines)
		}
	})
}

func TestPowerShellText(t *testing.T) {
	t.Parallel()
	got := text{kind: pwsh, script: &stage.Script{}}.powershell([]group{{"script_step", []string{"Write-Output 'a'", "if (1) {\n2 }", ""}}})
	check := "if (!$?) { exit $(if ($LASTEXITCODE) { $LASTEXITCODE } else { 1 }) }\n"
	want := "$ErrorActionPreference = 'Stop'\n" +
		"[Console]::Out.WriteLine('\x1b[32;1m$ Write-Output ''a''\x1b[0;m')\nWrite-Output 'a'\n" + check +
		"[Console]::Out.WriteLine('\x1b[32;1m$ if (1) { # collapsed multi-line command\x1b[0;m')\nif (1) {\n2 }\n" + check +
		"[Console]::Out.WriteLine('')\n\n" + check
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
