package finding_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
)

// TestLineIsWhatAShellRuns gives a real shell what people are told to type.
func TestLineIsWhatAShellRuns(t *testing.T) {
	t.Parallel()
	words := []string{"plain", "", "two words", "it's", `$HOME "x" \`, "a=b:c@d", "*", "~", "line\nline", ";", "é"}
	line := finding.Line([]finding.Command{append([]string{"printf", `%s\0`}, words...), {"printf", "end"}})
	out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(words, "end"), strings.Split(string(out), "\x00")); diff != "" {
		t.Error(diff)
	}
	if got := (finding.Command{"usermod", "--add-subuids", "100000-165535", "ci"}).String(); got != "usermod --add-subuids 100000-165535 ci" {
		t.Error(got)
	}
}

func TestSeverities(t *testing.T) {
	t.Parallel()
	for s, want := range map[finding.Severity]string{finding.Skipped: "skipped", finding.Fine: "ok", finding.Warning: "warning", finding.Failure: "failure"} {
		if got, err := s.MarshalText(); string(got) != want || err != nil {
			t.Errorf("%d is %q, want %q", s, got, want)
		}
	}
}
