package agent_test

import (
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/wire"
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

// TestEndAsksOnce ends a program that looks for a while whether it is asked again.
func TestEndAsksOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	s := script("s", `n=0; trap 'echo asked; n=1' TERM; echo up and ready; while [ $n -lt 30 ]; do sleep 0.02 || :; [ $n = 0 ] || n=$((n+1)); done`)
	s.Script.Shell = "bash"
	p.begin(c, s)
	p.until(c, "s", "\nup and ready\n")
	if err := c.Cancel(within(t), "s", wire.Cancel{Grace: patience, Reason: stage.Canceled}); err != nil {
		t.Fatal(err)
	}
	res, err := c.Wait(within(t), "s")
	if got := p.output(c, "s"); err != nil || res.Reason != stage.Canceled || strings.Count(got, "asked\n") != 1 {
		t.Errorf("result %+v, %v, output %q", res, err, got)
	}
}
