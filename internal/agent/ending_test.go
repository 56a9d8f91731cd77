package agent_test

import (
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/stage"
)

// A shell whose time is up ends before its command does, and so has nothing to say of it.
func TestEndedScriptIsSilent(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		s := script(id, map[bool]string{true: "sleep 1000", false: "sleep 1000 | cat; true"}[id < "d"], "echo on")
		s.Script.Shell, s.Timeout = "bash", 50*time.Millisecond
		res := p.run(c, s)
		if got := p.output(c, id); res.Reason != stage.Timeout || strings.Contains(got, "Terminated") || strings.HasSuffix(got, "on\n") {
			t.Errorf("%s: result %+v, output %q", id, res, got)
		}
	}
}

func TestEndAsksOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	s := script("s", `trap 'echo asked' TERM; echo ready; while :; do sleep 0.01 || :; done`)
	s.Script.Shell, s.Timeout, s.Grace = "bash", 500*time.Millisecond, 500*time.Millisecond
	res := p.run(c, s)
	if got := p.output(c, "s"); res.Reason != stage.Timeout || strings.Count(got, "\nasked\n")+strings.Count(got, "asked\nasked") != 1 {
		t.Errorf("result %+v, output %q", res, got)
	}
}
