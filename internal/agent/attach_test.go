package agent_test

import (
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
