package program_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

func TestCell(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"": "-", "a job": "a job", "\x1b[31mred\tcell\n": "?[31mred?cell?"} {
		if got := program.Cell(s); got != want {
			t.Errorf("Cell(%q) is %q, want %q", s, got, want)
		}
	}
}
