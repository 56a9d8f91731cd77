package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

func TestSuccessorOfAKilledAgent(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	if res := p.run(c, script("before", "echo whole; exit 4")); res.ExitCode != 4 {
		t.Fatalf("%+v", res)
	}
	p.begin(c, script("during", treeScript(t, "sleep 1000")...))
	pids := treePIDs(t, p, c, "during")
	waited := make(chan error, 1)
	var res stage.Result
	go func() {
		var err error
		res, err = c.Wait(within(t), "during") // goes on over the change of agents
		waited <- err
	}()
	p.kill()
	p.start()
	if err := <-waited; err != nil || res.Reason != stage.Lost {
		t.Fatalf("%+v %v", res, err)
	}
	if out := p.output(c, "during"); !strings.Contains(out, "ready for it\n") {
		t.Errorf("output %q", out)
	}
	if res := p.run(c, script("before", "exit 0")); res.ExitCode != 4 {
		t.Errorf("the earlier result: %+v", res)
	}
	for i, name := range treeNames {
		if name != "nameless" && alive(pids[i]) { // without mark, session and parent nobody finds it
			t.Errorf("%s lives on", name)
		}
	}
	_ = syscall.Kill(pids[3], syscall.SIGKILL)
	if res := p.run(c, script("after", "true")); res.Reason != stage.Success {
		t.Errorf("%+v", res)
	}
}

// A second agent waits for the directory: it is no death of the job's agent that another is there still.
func TestOneAgentPerDirectory(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	first, err := p.client(1).Hello(within(t))
	if err != nil {
		t.Fatal(err)
	}
	before := *p
	p.start()
	if h, err := p.client(1).Hello(within(t)); err != nil || h.PID != first.PID {
		t.Fatalf("beside a second agent: %+v %v; want pid %d", h, err, first.PID)
	}
	before.kill()
	if h, err := p.client(1).Hello(within(t)); err != nil || h.PID != p.cmd.Process.Pid {
		t.Fatalf("after the first: %+v %v; want pid %d", h, err, p.cmd.Process.Pid)
	}
}

func TestANewerRunnerFencesTheOlder(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	older, newer := p.client(7), p.client(8)
	p.begin(older, script("s", "echo begin", "sleep 1000"))
	p.until(older, "s", "begin")
	r, err := older.OpenSpool(within(t), "s", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	waited, read := make(chan error, 1), make(chan error, 1)
	go func() { _, err := older.Wait(within(t), "s"); waited <- err }()
	go func() { _, err := io.Copy(io.Discard, r); read <- err }()
	handover(t, newer, wire.Handover{Lease: time.Hour})
	if err := <-waited; !errors.Is(err, client.ErrFenced) {
		t.Errorf("a wait of the older: %v", err)
	}
	if err := <-read; !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("a spool of the older: %v", err)
	}
	if err := older.Cancel(within(t), "s", wire.Cancel{}); !errors.Is(err, client.ErrFenced) {
		t.Errorf("a cancel of the older: %v", err)
	}
	p.kill()
	p.start()
	again(t, func(ctx context.Context) error {
		if err = older.Lease(ctx); errors.Is(err, client.ErrUnreachable) { // by the connection that died with the first agent
			return err
		}
		return nil
	})
	if !errors.Is(err, client.ErrFenced) {
		t.Errorf("the older at a successor: %v", err)
	}
	if err := newer.Handover(within(t), wire.Handover{Job: "owner/other"}); err == nil {
		t.Error("the agent took another job")
	}
}

func TestLeaseEndsAForgottenAgent(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	p.begin(c, script("s", "echo self $$", "echo ready for it", "sleep 1000"))
	pid := pidAfter(t, p.until(c, "s", "ready for it\n"), "self")
	ctx, cancel := context.WithCancel(within(t))
	waited := make(chan error, 1)
	go func() { _, err := c.Wait(ctx, "s"); waited <- err }()
	const lease = 2 * time.Second // a busy machine needs some of it until the wait has begun
	handover(t, c, wire.Handover{Lease: lease})
	if err := exec.Command("sleep", fmt.Sprint(lease.Seconds()+1)).Run(); err != nil { // a wait is contact
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("ended while the runner waited")
	}
	cancel()
	<-waited
	c.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("the agent ended with %v", err)
	}
	gone(t, pid)
	p.start()
	res, err := c.Wait(within(t), "s")
	if err != nil || res.Reason != stage.System || !strings.Contains(res.Message, "No runner") {
		t.Fatalf("%+v %v", res, err)
	}
}

func TestTermEndsTheJob(t *testing.T) {
	t.Parallel()
	p := newPlace(t, agent.Config{})
	c := p.client(1)
	p.begin(c, script("s", "echo self $$", "echo ready for it", "sleep 1000"))
	pid := pidAfter(t, p.until(c, "s", "ready for it\n"), "self")
	waited := make(chan stage.Result, 1)
	go func() { res, _ := c.Wait(within(t), "s"); waited <- res }()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	gone(t, pid)
	p.start()
	if res := <-waited; res.Reason != stage.System || !strings.Contains(res.Message, "told to stop") {
		t.Fatalf("%+v", res)
	}
}
