package agent_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/agent/embedded"
)

type net0 = net.Conn

// attachConn is a connection through a process, as through an engine's exec.
func attachConn(_ context.Context, exe string) (net.Conn, error) {
	cmd := exec.Command(exe, "attach")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &pipeConn{cmd: cmd, WriteCloser: in, Reader: out}, cmd.Start()
}

type pipeConn struct {
	cmd *exec.Cmd
	io.WriteCloser
	io.Reader
}

func (c *pipeConn) Close() error {
	_ = c.WriteCloser.Close()
	return c.cmd.Wait()
}

func (*pipeConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (*pipeConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (*pipeConn) SetDeadline(time.Time) error      { return nil }
func (*pipeConn) SetReadDeadline(time.Time) error  { return nil }
func (*pipeConn) SetWriteDeadline(time.Time) error { return nil }

var dialer net.Dialer

// stranger checks that another user who gets to the socket is turned away. It needs root to be one.
func stranger(t *testing.T, dir, sock string) {
	t.Helper()
	if os.Getuid() != 0 {
		return // the test's user cannot become another
	}
	for path := filepath.Dir(sock); path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(sock, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "agent"), "attach")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	stdin, err := cmd.StdinPipe() // stays open: only the agent can end the connection
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.CombinedOutput()
	// Closed at once: either nothing comes, or the connection is reset.
	if len(out) > 0 && !strings.Contains(string(out), "reset") {
		t.Fatalf("%q %v", out, err)
	}
}

// TestAttachWait connects to an agent that comes after it, and says when it is there.
func TestAttachWait(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	exe := filepath.Join(dir, "agent")
	if _, err := embedded.Place(agenttest.Build(t), dir); err != nil {
		t.Fatal(err)
	}
	attach := exec.Command(exe, "attach", "wait")
	in, err := attach.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	words, err := attach.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(exe)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	line, err := bufio.NewReader(words).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != agent.AttachReady {
		t.Errorf("%q, %v, want that it is ready", line, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := attach.Wait(); err != nil {
		t.Error("the end of the input: ", err)
	}
}

// TestAttachWaitEndsWithItsInput does not wait for an agent on behalf of nobody.
func TestAttachWaitEndsWithItsInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := embedded.Place(agenttest.Build(t), dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(dir, "agent"), "attach", "wait").CombinedOutput(); err == nil {
		t.Errorf("it found an agent: %s", out)
	}
}

// TestProbe says the nonce of its directory.
func TestProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := embedded.Place(agenttest.Build(t), dir); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "agent")
	if out, err := exec.Command(exe, "probe").CombinedOutput(); err == nil {
		t.Errorf("a directory without a nonce: %s", out)
	}
	if err := os.WriteFile(filepath.Join(dir, agent.ProbeNonce), []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	probe := exec.Command(exe, "probe")
	if err := probe.Start(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for said == nil {
		conn, err := net.Dial("unix", filepath.Join(dir, agent.ProbeSocket))
		if err != nil {
			continue // it is about to listen
		}
		if said, err = io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if err := probe.Wait(); err != nil || string(said) != "abc" {
		t.Errorf("%q, %v, want the nonce", said, err)
	}
}
