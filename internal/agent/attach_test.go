package agent_test

import (
	"context"
	"io"
	"net"
	"os/exec"
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
