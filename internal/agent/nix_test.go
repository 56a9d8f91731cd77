package agent_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/stage"
)

// TestNixGateway starts an agent that keeps a gateway: its socket is there when the agent answers, and gone for clients
// when the agent has ended.
func TestNixGateway(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "nix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	p := newPlace(t, agent.Config{Nix: &gateway.Config{Listen: socket, Upstream: filepath.Join(dir, "daemon"), Roots: dir, Job: "job"}})
	c := p.client(1)
	h, err := c.Hello(within(t))
	if err != nil || !h.Nix {
		t.Fatalf("%+v, %v", h, err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if n, err := c.Nix(within(t)); err != nil || n.Built != (wire.NixPaths{}) {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "jobs", "job")); err != nil {
		t.Error(err)
	}
	if err := c.Shutdown(within(t)); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // how it ends is not the question
	if conn, err := net.Dial("unix", socket); err == nil {
		_ = conn.Close()
		t.Error("the gateway outlives the agent")
	}
}

// TestNixDaemonAway has a job with a view of a store whose daemon is away: the agent answers, stages wait for what they are
// to see, and end when they are told to, or go on when the gateway has given up.
func TestNixDaemonAway(t *testing.T) {
	t.Parallel()
	away := func(wait time.Duration) (*place, *client.Client) {
		dir, err := os.MkdirTemp("", "nix")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		p := newPlace(t, agent.Config{Nix: &gateway.Config{
			Listen: filepath.Join(dir, "socket"), Upstream: filepath.Join(dir, "daemon"), View: dir, Store: dir, Wait: wait,
			Known: []string{"/nix/store/" + strings.Repeat("0", 32) + "-p"},
		}})
		c := p.client(1)
		if h, err := c.Hello(within(t)); err != nil || !h.Nix {
			t.Fatalf("%+v, %v", h, err)
		}
		return p, c
	}
	p, c := away(time.Hour)
	p.begin(c, script("s", "echo it runs"))
	if err := c.Cancel(within(t), "s", wire.Cancel{Grace: time.Second, Reason: stage.Canceled}); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Wait(within(t), "s"); err != nil || r.Reason != stage.Canceled {
		t.Errorf("%+v, %v", r, err)
	}
	if out := p.output(c, "s"); strings.Contains(out, "it runs") {
		t.Errorf("it does not see what it is to see: %q", out)
	}
	p, c = away(time.Millisecond)
	if r := p.run(c, script("s", "echo it runs")); r.Reason != "" {
		t.Errorf("%+v", r)
	}
}

// TestNoNixGateway asks an agent that has none.
func TestNoNixGateway(t *testing.T) {
	t.Parallel()
	c := newPlace(t, agent.Config{}).client(1)
	if h, err := c.Hello(within(t)); err != nil || h.Nix {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := c.Nix(within(t)); err == nil {
		t.Error("it answered")
	}
}
