package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

func TestStageRunsOnceAndKeepsItsResult(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	h, err := c.Hello(within(t))
	if err != nil || h.PID != p.cmd.Process.Pid || h.Dir != p.dir || len(h.Shells) == 0 || h.Git == "" || h.Protocol != wire.Protocol {
		t.Fatalf("hello %+v, %v", h, err)
	}
	s := p.spec(script("one", "echo ran >> ran", "cat ran", "exit 7"))
	first, err := c.Start(within(t), s)
	if err != nil {
		t.Fatal(err)
	}
	res := p.run(c, s)
	if res.Reason != stage.Failed || res.ExitCode != 7 || res.Started != first.At || res.Ended < res.Started {
		t.Fatalf("%+v", res)
	}
	again, err := c.Start(within(t), s)
	if d := cmp.Diff(first, again); d != "" || err != nil {
		t.Fatal(d, err)
	}
	out := p.output(c, "one")
	if !strings.Contains(out, "\nran\n") || strings.Contains(out, "ran\nran\n") || out != p.output(c, "one") {
		t.Fatalf("output %q", out)
	}
	if _, err := c.Wait(within(t), "two"); !errors.Is(err, client.ErrUnknown) {
		t.Fatalf("unknown stage: %v", err)
	}
	if err := c.Cancel(within(t), "two", wire.Cancel{}); err != nil {
		t.Fatalf("cancel of an unknown stage: %v", err)
	}
}

// tree starts processes that go out of their way not to be found, and prints their pids.
const tree = `
echo shell $$
sh -c 'echo child $$; exec sleep 1000' &
setsid sh -c 'echo session $$; exec sleep 1000' &
sh -c '(setsid sh -c "echo orphan \$\$; exec sleep 1000" &) ; exit 0'
env -i setsid sh -c '(/bin/sh -c "echo nameless \$\$; exec sleep 1000" &) ; exit 0'
sh -c 'trap "" TERM; echo deaf $$; while :; do sleep 1000 & wait; done' &
`

var treeNames = []string{"child", "session", "orphan", "nameless", "deaf"}

func treePIDs(t *testing.T, p *place, c *client.Client, id string) (pids []int) {
	t.Helper()
	out := p.until(c, id, "ready for it\n")
	for _, name := range treeNames {
		pids = append(pids, pidAfter(t, out, name))
	}
	return pids
}

// waitForTree lets the script go on once all of the tree has said its pid into files.
const waitForTree = `echo ready for it`

// treeScript runs the tree with its output collected first, so that "ready" comes after every pid.
func treeScript(t *testing.T, last string) []string {
	t.Helper()
	fifo := `mkfifo up; (` + tree + `) > up & n=0; while [ $n -lt 6 ] && read -r l; do echo "$l"; n=$((n+1)); done < up`
	return []string{fifo, waitForTree, last}
}

func TestCancelEndsTheWholeTree(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	p.begin(c, script("s", treeScript(t, "sleep 1000")...))
	pids := treePIDs(t, p, c, "s")
	if err := c.Cancel(within(t), "s", wire.Cancel{Grace: 300 * time.Millisecond, Reason: stage.Canceled}); err != nil {
		t.Fatal(err)
	}
	res, err := c.Wait(within(t), "s")
	if err != nil || res.Reason != stage.Canceled {
		t.Fatalf("%+v %v", res, err)
	}
	for i, pid := range pids {
		if alive(pid) {
			t.Errorf("%s lives on", treeNames[i])
		}
	}
}

func TestEndOfTheShellEndsTheWholeTree(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	s := script("s", treeScript(t, "exit 3")...)
	s.Grace = 300 * time.Millisecond
	p.begin(c, s)
	pids := treePIDs(t, p, c, "s")
	res, err := c.Wait(within(t), "s")
	if err != nil || res.Reason != stage.Failed || res.ExitCode != 3 {
		t.Fatalf("%+v %v", res, err)
	}
	for i, pid := range pids {
		if alive(pid) {
			t.Errorf("%s lives on", treeNames[i])
		}
	}
}

func TestLeaveKeepsProcessesUntilShutdown(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	s := script("s", treeScript(t, "exit 0")...)
	s.Leave = true
	p.begin(c, s)
	pids := treePIDs(t, p, c, "s")
	if res, err := c.Wait(within(t), "s"); err != nil || res.Reason != stage.Success {
		t.Fatalf("%+v %v", res, err)
	}
	p.run(c, script("next", "sleep 1000 &"))
	for i, pid := range pids {
		if !alive(pid) {
			t.Errorf("%s was ended", treeNames[i])
		}
	}
	if err := c.Shutdown(within(t)); err != nil {
		t.Fatal(err)
	}
	for i, pid := range pids {
		if alive(pid) {
			t.Errorf("%s survived the shutdown", treeNames[i])
		}
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

func TestBackgroundProcessDoesNotHoldTheStage(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	res := p.run(c, script("s", "while :; do echo background; sleep 0.01; done &", "head -c 200000 /dev/zero | tr '\\0' x", "echo the end"))
	if res.Reason != stage.Success {
		t.Fatalf("%+v", res)
	}
	out := p.output(c, "s")
	if strings.Count(out, "x") < 200000 || !strings.Contains(out, "the end\n") {
		t.Fatal("output written before the end of the shell is missing")
	}
}

func TestTimeoutAndDeadline(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	s := script("timeout", "trap '' TERM; sleep 1000; sleep 1000")
	s.Timeout, s.Grace = 200*time.Millisecond, 100*time.Millisecond
	if res := p.run(c, s); res.Reason != stage.Timeout || !strings.Contains(res.Message, "200ms") {
		t.Errorf("timeout: %+v", res)
	}
	handover(t, c, wire.Handover{Left: 300 * time.Millisecond})
	if res := p.run(c, script("deadline", "sleep 1000")); res.Reason != stage.Timeout {
		t.Errorf("deadline: %+v", res)
	}
	p.kill()
	p.start() // the deadline is over for a successor too
	if res := p.run(c, script("late", "sleep 1000")); res.Reason != stage.Timeout {
		t.Errorf("after the deadline: %+v", res)
	}
	handover(t, c, wire.Handover{Left: time.Hour})
	if res := p.run(c, script("cleanup", "true")); res.Reason != stage.Success {
		t.Errorf("with time again: %+v", res)
	}
}

func TestArchivesGoInAndOut(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	want := bytes.Repeat([]byte("0123456789"), 300_000)
	for range 2 { // idempotent
		if err := c.PutArchive(within(t), "a.zip", bytes.NewReader(want), int64(len(want))); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []int{0, 1, len(want) - 1} {
		r, size, err := c.GetArchive(within(t), "a.zip", int64(from))
		if err != nil || size != int64(len(want)) {
			t.Fatal(size, err)
		}
		got, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil || !bytes.Equal(got, want[from:]) {
			t.Fatalf("from %d: %d bytes, %v", from, len(got), err)
		}
	}
	// A body that ends early leaves the archive as it was.
	if err := c.PutArchive(within(t), "a.zip", strings.NewReader("short"), 100); err == nil {
		t.Error("half an archive was taken")
	}
	if err := c.PutArchive(within(t), "empty", http0{}, 0); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := c.DeleteArchive(within(t), "a.zip"); err != nil {
			t.Fatal(err)
		}
	}
	var refused *client.RefusedError
	if _, _, err := c.GetArchive(within(t), "a.zip", 0); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("an archive that is gone: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(p.dir, "archives"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

type http0 struct{}

func (http0) Read([]byte) (int, error) { return 0, io.EOF }

func TestUnreachableWrapsTheExecutorsDiagnosis(t *testing.T) {
	t.Parallel()
	dead := errors.New("the place died: out of memory")
	c := client.New(func(context.Context) (net0, error) { return nil, dead }, 1)
	_, err := c.Wait(within(t), "s")
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, dead) {
		t.Fatal(err)
	}
}

func TestAttachCarriesTheWire(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	if _, err := p.client(1).Hello(within(t)); err != nil {
		t.Fatal(err)
	}
	c := client.New(func(ctx context.Context) (net0, error) { return attachConn(ctx, filepath.Join(p.dir, "agent")) }, 1)
	defer c.Close()
	if res := p.run(c, script("s", "echo through")); res.Reason != stage.Success {
		t.Fatalf("%+v", res)
	}
	if out := p.output(c, "s"); !strings.Contains(out, "\nthrough\n") {
		t.Fatalf("%q", out)
	}
}

func TestManyStagesAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	const n = 20
	for i := range n {
		p.begin(c, script(fmt.Sprint("s", i), fmt.Sprintf("setsid sleep 1000 & echo stage %d; exit %d", i, i)))
	}
	for i := range n {
		res, err := c.Wait(within(t), fmt.Sprint("s", i))
		if err != nil || res.ExitCode != i {
			t.Errorf("stage %d: %+v %v", i, res, err)
		}
		if out := p.output(c, fmt.Sprint("s", i)); !strings.Contains(out, fmt.Sprintf("stage %d\n", i)) {
			t.Errorf("stage %d: %q", i, out)
		}
	}
}
