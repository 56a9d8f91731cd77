package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// AttachReady is the line that `attach wait` writes to standard error when it is connected.
const AttachReady = "ready"

// attach copies between the agent of the executable's directory and in and out until the agent
// closes the connection. When in ends, the agent is told; a connection that cannot be made is an error.
func attach(in io.Reader, out io.Writer) error {
	d, err := sockets()
	if err != nil {
		return err
	}
	conn, err := Dial(d)
	if err != nil {
		return err
	}
	return connect(conn, in, out)
}

// attachWait is attach for an agent that is still to come: it waits as long as in stays open.
func attachWait(in io.Reader, out, words io.Writer) error {
	d, err := sockets()
	if err != nil {
		return err
	}
	input := bufio.NewReader(in)
	begun, gone := make(chan struct{}), make(chan struct{})
	go func() { // ends with the process: a read of standard input cannot be interrupted
		if _, err := input.Peek(1); err != nil {
			close(gone)
		}
		close(begun)
	}()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		conn, err := Dial(d)
		if err == nil {
			if _, err := fmt.Fprintln(words, AttachReady); err != nil {
				_ = conn.Close()
				return err
			}
			return connect(conn, &later{begun, input}, out)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-gone:
			return err
		case <-time.After(pause):
		}
	}
}

func sockets() (string, error) {
	d, err := dir()
	if err != nil {
		return "", err
	}
	config, err := readConfig(d)
	if err != nil {
		return "", err
	}
	return config.sockDir(d), nil
}

// connect copies until the agent closes the connection.
func connect(conn *net.UnixConn, in io.Reader, out io.Writer) error {
	defer func() { _ = conn.Close() }()
	go func() { // ends with the process: a read of standard input cannot be interrupted
		_, _ = io.Copy(conn, in)
		_ = conn.CloseWrite()
	}()
	if _, err := io.Copy(out, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("copy from the agent: %w", err)
	}
	return nil
}

// later is a reader that another goroutine uses until begun is closed.
type later struct {
	begun <-chan struct{}
	in    io.Reader
}

func (l *later) Read(p []byte) (int, error) {
	<-l.begun
	return l.in.Read(p)
}
