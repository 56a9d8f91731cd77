package wire_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/wire"
)

func TestCompatible(t *testing.T) {
	t.Parallel()
	const newer, older = "let it drain its jobs before going back", "update in smaller steps"
	for _, c := range []struct {
		runner, agent int
		refused       string // what the error advises; empty: compatible
	}{
		{wire.Protocol, wire.Protocol, ""},
		{105, 105, ""}, {105, 104, ""}, {105, 103, ""}, {105, 102, older}, {105, 100, older}, {105, 106, newer},
		{101, 100, ""}, {100, 99, older}, // another major version, although the numbers are neighbours
		{205, 105, older}, {201, 199, older}, {105, 205, newer}, {199, 200, newer},
		{105, 0, older}, {105, -105, older}, {105, math.MinInt, older}, {105, math.MaxInt, newer},
	} {
		err := wire.Compatible(c.runner, c.agent)
		var v *wire.VersionError
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("runner %d, agent %d: %v", c.runner, c.agent, err)
		case c.refused != "" && (!errors.As(err, &v) || v.Runner != c.runner || v.Agent != c.agent || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("runner %d, agent %d: %v, want an error that says %q", c.runner, c.agent, err, c.refused)
		}
	}
}
