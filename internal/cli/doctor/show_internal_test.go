package doctor

import (
	"bytes"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/program"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	one := func(s finding.Severity) looked { return looked{Result: finding.Result{Severity: s}} }
	for want, all := range map[string][]looked{
		"0 checks: 0 failures, 0 warnings, 0 mended\n": nil,
		"1 check: 1 failure, 0 warnings, 0 mended\n":   {one(finding.Failure)},
		"4 checks: 2 failures, 1 warning, 1 mended\n":  {one(finding.Failure), one(finding.Warning), one(finding.Failure), {Result: finding.Result{Severity: finding.Fine}, Mended: true}},
	} {
		var said bytes.Buffer
		d := &doctor{program: program.New([]string{"skerry"}, program.Streams{Out: &said, Err: &said}, program.Build{})}
		d.summary(all)
		if said.String() != want {
			t.Errorf("%q, want %q", said.String(), want)
		}
	}
}
