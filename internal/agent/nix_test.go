package agent_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
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
